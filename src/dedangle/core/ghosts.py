# SPDX-License-Identifier: Apache-2.0
"""Find a disk of a running guest that Nova has no mapping for; neither database shows this state."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from dedangle.core.decisions import Disposition, Finding, Remedy, Verdict, way_out
from dedangle.core.findings import KINDS
from dedangle.core.records import Attachment, BlockDeviceMapping, Disk, Reading, Server, Volume

CODE = "disk-without-mapping"
# While Nova moves a server, both hosts may have its guest.
_MOVING = ("migrating", "resize_prep", "resize_migrating", "resize_migrated", "resize_finish", "rebuilding")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guest:
    """A guest on a host, identified by the id of its server."""

    server_id: str
    disks: tuple[Disk, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuestDisk:
    """A disk of a running guest, with all rows of Nova and Cinder about the server and the volume."""

    host: str
    server_id: str
    disk: Disk
    server: Server | None
    """None if Nova has no record of the server."""
    bdms: tuple[BlockDeviceMapping, ...]
    """Live mappings of the volume, of any server."""
    volume: Reading[Volume]
    attachments: Reading[Attachment]
    """Attachments of the volume, of any server."""


def unexplained(
    host: str, guests: Iterable[Guest], servers: Iterable[Server], bdms: Iterable[BlockDeviceMapping]
) -> Iterator[tuple[Guest, Disk, Server | None]]:
    """Yield each disk of a running guest that no live mapping of its server on this host explains, with the server."""
    by_id = {server.id: server for server in sorted(servers, key=lambda each: not each.deleted)}
    mapped = {(bdm.server_id, bdm.volume_id) for bdm in bdms if not bdm.deleted}
    for guest in guests:
        server = by_id.get(guest.server_id)
        if server is not None and (server.task_state in _MOVING or server.vm_state == "resized"):
            continue
        is_here = server is not None and not server.deleted and server.host == host
        explained = [disk for disk in guest.disks if is_here and (guest.server_id, disk.volume_id) in mapped]
        # After a volume swap, the disk of the new volume still has the serial of the old one.
        swapped = {disk.source for disk in explained if disk.is_recognised}
        for disk in guest.disks:
            if disk.is_running and disk not in explained and disk.source not in swapped:
                yield guest, disk, server


def judge(seen: GuestDisk) -> Finding:
    """Return the finding of a disk that the host reported twice."""
    server, volume_id = seen.server, seen.disk.volume_id
    kind = KINDS[CODE]
    others = sorted(
        {bdm.server_id for bdm in seen.bdms}.union(each.server_id for each in seen.attachments.rows if each.server_id)
        - {seen.server_id}
    )
    own = any(each.server_id == seen.server_id for each in seen.attachments.rows)
    volume = next(iter(seen.volume.rows), None)
    is_multiattach = volume is not None and volume.multiattach
    # A server that holds the volume, or gets it next, writes to the same disk.
    is_urgent = not is_multiattach and seen.attachments.complete and (bool(others) or not own)
    words = {"server": seen.server_id, "volume": volume_id, "other": others[0] if others else "none"}
    sentence = ("URGENT: " if is_urgent else "") + kind.sentence.format(**words)
    commands = tuple(_ends(seen))
    reason = f"{sentence} {kind.advice.format(**words)}{way_out(commands)}"
    return Finding(
        code=CODE,
        verdict=Verdict.MISMATCH,
        remedy=Remedy.NONE,
        disposition=Disposition.REPORT,
        server_id=seen.server_id,
        volume_id=volume_id,
        host=seen.host,
        cell=server.cell if server else None,
        project_id=server.project_id if server else None,
        sentence=sentence,
        advice=kind.advice.format(**words),
        reason=reason,
        next=commands,
        is_urgent=is_urgent,
        evidence=tuple(_facts(seen)),
        server_name=server.name if server else None,
        vm_state=server.vm_state if server else None,
        volume_name=volume.name if volume else None,
        volume_size=volume.size if volume else None,
    )


def _ends(seen: GuestDisk) -> Iterator[str]:
    server = seen.server
    if server is None or server.deleted or server.host != seen.host:
        yield f"ssh {seen.host} virsh destroy {seen.server_id}"
    elif server.can_be_stopped:
        # The new domain has only the disks that Nova maps.
        yield f"openstack server reboot --hard --wait {seen.server_id}"


def _facts(seen: GuestDisk) -> Iterator[str]:
    server, disk = seen.server, seen.disk
    runs = f"the guest of server {seen.server_id} runs with a disk of volume {disk.volume_id}"
    yield f"Host {seen.host}: {runs}: {disk.source}"
    if server is None:
        yield f"Nova: no cell has a record of server {seen.server_id}"
    else:
        state = "deleted" if server.deleted else f"{server.vm_state}, on {server.host or 'no host'}"
        yield f"Nova {server.cell}: server {server.id} is {state}"
    for bdm in seen.bdms:
        yield f"Nova {bdm.cell}: server {bdm.server_id} maps the volume"
    for each in seen.attachments.rows:
        yield f"Cinder: server {each.server_id} holds attachment {each.id} of the volume ({each.status})"
    for volume in seen.volume.rows:
        yield f"Cinder: volume {volume.id} is {volume.status}"
