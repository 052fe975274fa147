# SPDX-License-Identifier: Apache-2.0
"""Compare what the compute hosts report of their guests with Nova, and prove by it which disks the suspects have."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from collections.abc import Mapping as MappingType
from multiprocessing.pool import ThreadPool
from typing import Any

from dedangle.core import ghosts, pairing
from dedangle.core.case import Policy
from dedangle.core.decisions import Finding, Outcome
from dedangle.core.ghosts import Seen, Suspicion
from dedangle.core.records import Attachment, Disk, Guest, HostConnection, Reading, Volume
from dedangle.core.run import Run
from dedangle.reconcile.sweep import Progress
from dedangle.systems import ports

# Hosts that are asked at the same time. A host that does not answer blocks its thread for the whole timeout.
_AT_ONCE = 16
# Guests whose servers and volumes are read with one statement.
_CHUNK = 500


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
    """What each host that was asked answered for all its guests."""

    guests: MappingType[str, Reading[Guest]]
    connections: MappingType[str, Reading[HostConnection]]
    """Those that no guest of the host used; only of hosts that reported their guests."""

    def proofs(self, live: ports.Hosts) -> ports.Hosts:
        """Return hosts whose proofs come from these answers. Changes go to the live hosts."""
        return _Answered(live, self)

    @functools.cached_property
    def by_server(self) -> dict[tuple[str, str], Guest]:
        return {(host, guest.server_id): guest for host, answer in self.guests.items() for guest in answer.rows}


@dataclasses.dataclass(frozen=True)
class _Answered:
    """Hosts that were asked for all their guests. A host that did not answer is asked for each server."""

    _live: ports.Hosts
    _answers: Answers

    def disks(self, server_id: str, host: str) -> Reading[Disk]:
        answer = self._answers.guests.get(host)
        if answer is None or not answer.complete:
            return self._live.disks(server_id, host)
        guest = self._answers.by_server.get((host, server_id))
        return guest.reading if guest else Reading()

    def guests(self, host: str, only: Collection[str] | None = None) -> Reading[Guest]:
        return self._live.guests(host, only)

    def unused_connections(self, host: str) -> Reading[HostConnection]:
        return self._live.unused_connections(host)

    def acts(self, host: str) -> bool:
        return self._live.acts(host)

    def may_answer(self, host: str) -> bool:
        return self._live.may_answer(host)

    def connector(self, server_id: str, host: str) -> Reading[dict[str, Any]]:
        return self._live.connector(server_id, host)

    def carry_out(self, finding: Finding, host: str, policy: Policy) -> Outcome:
        return self._live.carry_out(finding, host, policy)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Witnesses:
    """Asks each host for all its guests. A host that does not answer proves nothing."""

    nova: ports.Fleet
    cinder: ports.Cinder
    hosts: ports.Hosts
    progress: Progress

    def ask(self, names: Sequence[str], run: Run, out_of_time: Callable[[], bool] = lambda: False) -> Answers:
        """Ask the hosts, several at the same time, and add to the run which of them did not answer."""
        guests: dict[str, Reading[Guest]] = {}
        connections: dict[str, Reading[HostConnection]] = {}

        def ask(host: str) -> tuple[str, Reading[Guest], Reading[HostConnection]] | None:
            if out_of_time():
                return None
            answer = self.hosts.guests(host)
            return host, answer, self.hosts.unused_connections(host) if answer.complete else Reading()

        with ThreadPool(_AT_ONCE) as pool:
            for done, one in enumerate(pool.imap(ask, names), 1):
                self.progress("Asking hosts for the disks of their guests", done, len(names))
                if one is not None:
                    host, guests[host], connections[host] = one
        if len(guests) < len(names):
            run.miss([f"the guests of {len(names) - len(guests)} of {len(names)} hosts (time budget used up)"])
        run.miss(f"the guests of host {host}: {answer.why}" for host, answer in guests.items() if not answer.complete)
        run.miss(f"the connections of host {host}: {each.why}" for host, each in connections.items() if each.why)
        unread = ((host, guest) for host, answer in guests.items() for guest in answer.rows if guest.why)
        run.miss(f"the guest of server {guest.server_id} on host {host}: {guest.why}" for host, guest in unread)
        return Answers(guests=guests, connections=connections)

    def compare(self, answers: Answers, run: Run, wanted: Callable[[Finding], bool]) -> None:
        """Add to the run what the hosts showed and Nova does not explain, if they still show it."""
        suspicions: dict[str, dict[tuple[str, ...], Suspicion]] = defaultdict(dict)
        complete = ((host, answer) for host, answer in answers.guests.items() if answer.complete)
        for some in _chunks((host, guest) for host, answer in complete for guest in answer.rows):
            for host, suspicion in self._suspicions(some, run):
                suspicions[host][suspicion.identity] = suspicion
        for host, of_host in suspicions.items():
            run.add(filter(wanted, self._confirmed(host, of_host, answers.guests[host].rows, run)))
        for host, unused in answers.connections.items():
            if unused.rows:
                # An attach connects the volume before the guest gets the disk.
                still = self.hosts.unused_connections(host).rows
                run.add(filter(wanted, (ghosts.unused(host, each) for each in unused.rows if each in still)))

    def _suspicions(self, some: Sequence[tuple[str, Guest]], run: Run) -> Iterator[tuple[str, Suspicion]]:
        # The mappings are read after the hosts' answers, because an attach writes its mapping before the disk.
        servers = self.nova.servers({guest.server_id for _, guest in some})
        bdms = self.nova.other_servers_bdms({disk.volume_id for _, guest in some for disk in guest.disks}, "")
        of_hosts: dict[str, list[Guest]] = defaultdict(list)
        for host, guest in some:
            of_hosts[host].append(guest)
        if not (servers.complete and bdms.complete):
            run.miss(f"the guests of host {host}: {servers.why or bdms.why}" for host in of_hosts)
            return
        records = ghosts.records(servers.rows, bdms.rows)
        for host, guests in of_hosts.items():
            yield from ((host, each) for each in ghosts.suspicions(host, guests, records))

    def _confirmed(
        self, host: str, suspicions: MappingType[tuple[str, ...], Suspicion], every: Sequence[Guest], run: Run
    ) -> Iterator[Finding]:
        """Ask the host and Nova again. What an attach, a detach or a migration in progress explained is gone then."""
        now = self.hosts.guests(host, {each.guest.server_id for each in suspicions.values()})
        if not now.complete:
            run.miss([f"the guests of host {host}: {now.why}"])
            return
        for guest in now.rows:
            view = self.nova.observe(guest.server_id)
            if not view.complete:
                run.miss(f"server {guest.server_id}: {why}" for why in view.unread)
                continue
            for each in ghosts.suspicions(host, [guest], ghosts.records(view.servers, view.mappings)):
                if each.identity in suspicions:
                    yield ghosts.judge(self._seen(host, each, every, pairing.server_of(view)))

    def _seen(self, host: str, suspicion: Suspicion, every: Sequence[Guest], server: Any) -> Seen:
        disk, own = suspicion.disk, suspicion.guest.server_id
        if disk is None:
            return Seen(host=host, suspicion=suspicion, server=server)
        volume_id = disk.volume_id
        others = (guest for guest in every if guest.server_id != own)
        sharing = {guest.server_id for guest in others for each in guest.disks if _is_shared(each, disk)}
        volume: Reading[Volume] = self.cinder.volume(volume_id)
        attachments: Reading[Attachment] = self.cinder.attachments_of_volume(volume_id)
        return Seen(
            host=host,
            suspicion=suspicion,
            server=server,
            bdms=tuple(bdm for bdm in self.nova.other_servers_bdms({volume_id}, "").rows if not bdm.deleted),
            volume=volume,
            attachments=attachments,
            same_source=tuple(sorted(sharing)),
        )


def _is_shared(one: Disk, other: Disk) -> bool:
    return one.is_running and one.source == other.source != ""


def _chunks(guests: Iterable[tuple[str, Guest]]) -> Iterator[Sequence[tuple[str, Guest]]]:
    every = iter(guests)
    while some := tuple(itertools.islice(every, _CHUNK)):
        yield some
