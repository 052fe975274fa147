# SPDX-License-Identifier: Apache-2.0
"""Compare the disks of all guests, as the compute hosts report them, with Nova's mappings."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.pool import ThreadPool

from dedangle.core import ghosts
from dedangle.core.decisions import Finding
from dedangle.core.ghosts import Guest, GuestDisk
from dedangle.core.records import Disk, Reading
from dedangle.core.run import Run
from dedangle.reconcile.sweep import Progress
from dedangle.systems import ports

# Number of servers or volumes in one SQL statement.
_CHUNK = 500


@dataclasses.dataclass(frozen=True, kw_only=True)
class Witnesses:
    """Asks each host for all its guests. A host that does not answer proves nothing."""

    nova: ports.Fleet
    cinder: ports.Cinder
    hosts: ports.Hosts
    progress: Progress
    concurrency: int

    def audit(self, names: Sequence[str], run: Run, wanted: Callable[[Finding], bool]) -> None:
        """Add to the run each disk of a running guest that no mapping explains, and each host that did not answer."""
        silent: dict[str, str] = {}
        with ThreadPool(self.concurrency) as pool:
            answers = pool.imap(lambda host: (host, self.hosts.guests(host)), names)
            for done, (host, guests) in enumerate(answers, 1):
                self.progress("Asking hosts for the disks of their guests", done, len(names))
                if not guests.complete:
                    silent[host] = guests.why
                run.add(finding for finding in self._of_host(host, guests.rows, run) if wanted(finding))
        run.miss(f"the guests of host {host}: {why}" for host, why in silent.items())

    def _of_host(self, host: str, guests: Sequence[Guest], run: Run) -> Iterator[Finding]:
        for some in _chunks(guests):
            volume_ids = {disk.volume_id for guest in some for disk in guest.disks}
            servers = self.nova.servers({guest.server_id for guest in some})
            # The mappings are read after the host's answer, because an attach writes its mapping before the disk.
            bdms = self.nova.other_servers_bdms(volume_ids, "")
            if not (servers.complete and bdms.complete):
                run.miss([f"the guests of host {host}: {servers.why or bdms.why}"])
                continue
            for guest, disk, server in ghosts.unexplained(host, some, servers.rows, bdms.rows):
                # A detach removes the disk before the mapping, so a disk that is still there is not being detached.
                if not self._is_still_there(host, guest, disk):
                    continue
                yield ghosts.judge(
                    GuestDisk(
                        host=host,
                        server_id=guest.server_id,
                        disk=disk,
                        server=server,
                        bdms=tuple(bdm for bdm in bdms.rows if bdm.volume_id == disk.volume_id and not bdm.deleted),
                        volume=self.cinder.volume(disk.volume_id),
                        attachments=self.cinder.attachments_of_volume(disk.volume_id),
                    )
                )

    def _is_still_there(self, host: str, guest: Guest, disk: Disk) -> bool:
        now: Reading[Disk] = self.hosts.disks(guest.server_id, host)
        return any((each.volume_id, each.is_running) == (disk.volume_id, True) for each in now.rows)


def _chunks(guests: Sequence[Guest]) -> Iterator[Sequence[Guest]]:
    every = iter(guests)
    while some := tuple(itertools.islice(every, _CHUNK)):
        yield some
