# SPDX-License-Identifier: Apache-2.0
"""Find disks, domains and connections that only a host shows, because Nova's mappings do not explain them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from dedangle.core.decisions import Disposition, Finding, HostSide, Remedy, Verdict
from dedangle.core.findings import KINDS
from dedangle.core.manual import VIRSH
from dedangle.core.records import Attachment, BlockDeviceMapping, Disk, Guest, HostConnection, Reading, Server, Volume

WITHOUT_MAPPING = "disk-without-mapping"
DIFFERS = "disk-source-differs"
WITHOUT_SERVER = "guest-without-server"
UNUSED = "connection-unused"
# While Nova moves a server, both hosts may have its guest.
_MOVING = ("migrating", "resize_prep", "resize_migrating", "resize_migrated", "resize_finish", "rebuilding")
# nova/compute/vm_states.py:ALLOW_HARD_REBOOT
_REBOOTABLE = ("active", "stopped", "paused", "suspended", "error")
_WORDS = {"iscsi": "the iSCSI device", "multipath": "the multipath map", "nvme": "the NVMe subsystem"}


class Suspicion(NamedTuple):
    """A domain or disk that a host reports and Nova does not explain."""

    code: str
    guest: Guest
    disk: Disk | None
    """None if it is the domain itself."""

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """Identifies the same domain or disk in another answer of the host."""
        return self.code, self.guest.server_id, *((self.disk.volume_id, self.disk.source) if self.disk else ("", ""))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    """A suspicion, with all rows of Nova and Cinder and all reports of the host about it."""

    host: str
    suspicion: Suspicion
    server: Server | None
    """None if Nova has no record of the server."""
    bdms: tuple[BlockDeviceMapping, ...] = ()
    """Live mappings of the volume, of any server."""
    volume: Reading[Volume] = dataclasses.field(default_factory=Reading)
    attachments: Reading[Attachment] = dataclasses.field(default_factory=Reading)
    """Attachments of the volume, of any server."""
    same_source: tuple[str, ...] = ()
    """Other servers whose running guests on the host have the same source."""

    @property
    def is_here(self) -> bool:
        """Whether Nova has the server on this host."""
        return self.server is not None and not self.server.deleted and self.server.host == self.host

    @property
    def others(self) -> list[str]:
        """The other servers that hold the volume, or have the same source."""
        own = self.suspicion.guest.server_id
        held = {each.server_id for each in self.attachments.rows if each.server_id}
        return sorted({bdm.server_id for bdm in self.bdms}.union(held, self.same_source) - {own})

    @property
    def is_urgent(self) -> bool:
        """Whether another server may write to the disk, now or after the next attach of the volume."""
        own = any(each.server_id == self.suspicion.guest.server_id for each in self.attachments.rows)
        shown = next(iter(self.volume.rows), None)
        if self.suspicion.code == WITHOUT_SERVER or (shown is not None and shown.multiattach):
            return False
        if self.suspicion.code == DIFFERS:
            return bool(self.same_source)
        is_free = (shown is not None and shown.status == "available") or (self.attachments.complete and not own)
        return bool(self.others) or is_free


class NovaRecords(NamedTuple):
    """Nova's records of the guests of some hosts."""

    servers: Mapping[str, Server]
    """By id: the live record of a server, or else one of its deleted ones."""
    mapped: frozenset[tuple[str, str]]
    """(server id, volume id) of each live mapping."""


def records(servers: Iterable[Server], bdms: Iterable[BlockDeviceMapping]) -> NovaRecords:
    """Return Nova's records, to be looked up for each guest."""
    return NovaRecords(
        {server.id: server for server in sorted(servers, key=lambda each: not each.deleted)},
        frozenset((bdm.server_id, bdm.volume_id) for bdm in bdms if not bdm.deleted),
    )


def suspicions(host: str, guests: Iterable[Guest], nova: NovaRecords) -> Iterator[Suspicion]:
    """Yield the domains and disks of a host that no live mapping of their servers on this host explains."""
    for guest in guests:
        server = nova.servers.get(guest.server_id)
        if server is not None and (server.task_state in _MOVING or server.vm_state == "resized"):
            continue
        is_here = server is not None and not server.deleted and server.host == host
        running = [disk for disk in guest.disks if disk.is_running]
        if not is_here and not running and guest.is_novas:
            yield Suspicion(WITHOUT_SERVER, guest, None)
        explained = [disk for disk in running if is_here and (guest.server_id, disk.volume_id) in nova.mapped]
        # After a volume swap the disk of the new volume has the serial of the old one; during the copy both are there.
        swapped = {disk.source for disk in explained if disk.is_recognised}
        copied = {(disk.volume_id, disk.target) for disk in explained if disk.is_recognised}
        for disk in running:
            if disk.source in swapped:
                continue
            if disk not in explained:
                yield Suspicion(WITHOUT_MAPPING, guest, disk)
            elif disk.expected and not disk.is_recognised and (disk.volume_id, disk.target) not in copied:
                yield Suspicion(DIFFERS, guest, disk)


def judge(seen: Seen) -> Finding:
    """Return the finding of a suspicion that the host reported twice."""
    server, guest, disk = seen.server, seen.suspicion.guest, seen.suspicion.disk
    volume = next(iter(seen.volume.rows), None)
    words = {
        "host": seen.host,
        "server": guest.server_id,
        "volume": disk.volume_id if disk else "none",
        "source": disk.source if disk else "none",
        "expected": disk.expected if disk else "none",
    }
    finding = _finding(
        seen.suspicion.code,
        words,
        tuple(_ends(seen)),
        tuple(_facts(seen)),
        is_urgent=seen.is_urgent,
        host_side=_side(seen.host, guest, disk),
    )
    return dataclasses.replace(
        finding,
        server_id=guest.server_id,
        volume_id=disk.volume_id if disk else "",
        cell=server.cell if server else None,
        project_id=server.project_id if server else None,
        server_name=server.name if server else None,
        vm_state=server.vm_state if server else None,
        volume_name=volume.name if volume else None,
        volume_size=volume.size if volume else None,
    )


def unused(host: str, connection: HostConnection) -> Finding:
    """Return the finding of a connection that the host reported as unused twice."""
    devices = f" ({', '.join(connection.devices)})" if connection.devices else ""
    kind = connection.kind
    if kind == "iscsi" and not connection.devices:
        kind = "iscsi session"
    words = {"host": host, "connection": f"{_WORDS.get(kind, f'the {kind}')} {connection.name}{devices}"}
    side = HostSide(host=host, source=connection.name, source_kind=connection.kind)
    commands = tuple(_closes(host, connection))
    return _finding(UNUSED, words, commands, (f"Host {host}: no guest uses {words['connection']}",), host_side=side)


def _finding(
    code: str,
    words: dict[str, str],
    commands: tuple[str, ...],
    evidence: tuple[str, ...],
    *,
    host_side: HostSide,
    is_urgent: bool = False,
) -> Finding:
    kind = KINDS[code]
    sentence = ("URGENT: " if is_urgent else "") + kind.sentence.format(**words)
    advice = kind.advice.format(**words)
    return Finding(
        code=code,
        verdict=Verdict.MISMATCH,
        remedy=Remedy.NONE,
        disposition=Disposition.REPORT,
        server_id="",
        volume_id="",
        host=host_side.host,
        sentence=sentence,
        advice=advice,
        next=commands,
        is_urgent=is_urgent,
        evidence=evidence,
        host_side=(host_side,),
        place=f"{host_side.host} {host_side.source}",
    )


def _side(host: str, guest: Guest, disk: Disk | None) -> HostSide:
    if disk is None:
        return HostSide(host=host, domain="running" if guest.is_running else "defined")
    return HostSide.of(host, disk)


def _ends(seen: Seen) -> Iterator[str]:
    server, guest = seen.server, seen.suspicion.guest
    if server is None or seen.suspicion.code == DIFFERS:
        # The domain may belong to another cloud; with two sources, nothing shows which one has the data.
        return
    if not seen.is_here:
        if guest.is_running:
            yield f"ssh {seen.host} {VIRSH} destroy {server.id}"
        yield f"ssh {seen.host} {VIRSH} undefine --nvram {server.id}"
    elif server.vm_state in _REBOOTABLE and server.task_state is None:
        # The new domain has what is mapped, and nothing else.
        yield f"openstack server reboot --hard --wait {server.id}"
    elif server.vm_state == "rescued" and server.task_state is None:
        yield f"openstack server unrescue {server.id}"
        yield (f'until [ "$(openstack server show -f value -c status {server.id})" = ACTIVE ]; do sleep 2; done')
        yield f"openstack server reboot --hard --wait {server.id}"


def _closes(host: str, connection: HostConnection) -> Iterator[str]:
    """Yield the command that closes the connection; the kernel refuses it if anything uses the connection."""
    if connection.kind == "mount":
        yield f"ssh {host} umount {connection.name}"
    elif connection.kind == "multipath":
        yield f"ssh {host} multipath -f {connection.name}"


def _facts(seen: Seen) -> Iterator[str]:
    server, guest, disk = seen.server, seen.suspicion.guest, seen.suspicion.disk
    if disk is None:
        yield f"Host {seen.host}: the domain of server {guest.server_id} is {_side(seen.host, guest, None).domain}"
    else:
        runs = f"the guest of server {guest.server_id} runs with a disk of volume {disk.volume_id}"
        yield f"Host {seen.host}: {runs}: {disk.place}"
        if disk.expected:
            yield f"Nova: the mapping of volume {disk.volume_id} connects to {disk.expected}"
    for other in seen.same_source:
        yield f"Host {seen.host}: the guest of server {other} runs with the same source"
    if server is None:
        yield f"Nova: no cell has a record of server {guest.server_id}"
    else:
        state = "deleted" if server.deleted else f"{server.vm_state}, on {server.host or 'no host'}"
        yield f"Nova {server.cell}: server {server.id} is {state}"
    for bdm in seen.bdms:
        yield f"Nova {bdm.cell}: server {bdm.server_id} maps the volume"
    for each in seen.attachments.rows:
        yield f"Cinder: server {each.server_id} holds attachment {each.id} of the volume ({each.status})"
    for volume in seen.volume.rows:
        yield f"Cinder: volume {volume.id} is {volume.status}"
