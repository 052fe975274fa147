# SPDX-License-Identifier: Apache-2.0
"""The guests of a host, read through the libvirt driver of the nova-compute that dedangle runs in."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple
from uuid import UUID
from xml.etree import ElementTree

from nova import context, exception, objects
from oslo_serialization import jsonutils

from dedangle.core import addresses
from dedangle.core.ghosts import Guest
from dedangle.core.records import Disk, Reading

_ALIAS = "ua-"


class _Domain(NamedTuple):
    is_active: bool
    live: list[ElementTree.Element]
    """The `<disk>` elements of the current domain."""
    inactive: list[ElementTree.Element]
    """The `<disk>` elements of the domain for its next start."""


class _Seen(NamedTuple):
    volume_id: str
    """The volume id in the serial or alias of the disk; empty if it has none."""
    source: str
    is_running: bool


def disks(driver: Any, server_id: str) -> Reading[Disk]:
    """Return the disks of the server's domain, of the running one and of its next start, with their volumes.

    The domain is found by its id alone, so guests of servers that Nova has deleted or purged are found too. Empty if
    libvirt has no such domain. A disk appears once for each volume and source, as running if the running domain has it.
    """
    try:
        # Nova only uses the uuid to find a domain (nova virt/libvirt/host.py:_get_domain).
        domain = _read(driver._host.get_guest(objects.Instance(uuid=server_id)))
    except exception.InstanceNotFound:
        return Reading()
    except Exception as error:  # noqa: BLE001 -- libvirt raises many kinds, and none of them is an answer
        return Reading.unread(f"libvirt did not report the disks of the guest ({type(error).__name__})")
    elements = [*domain.live, *domain.inactive]
    if any(each.get("device") == "lun" and not _volume_id(each) for each in elements):
        # A SCSI passthrough device has its own serial, so Nova does not set the volume id.
        return Reading.unread("the guest has a disk that does not name its volume")
    seen = [*_seen(domain.live, is_running=domain.is_active), *_seen(domain.inactive, is_running=False)]
    if not seen:
        return Reading()
    return Reading(tuple(_disks(seen, _bdms(server_id))))


def guests(driver: Any, after: str, most: int) -> Reading[Guest]:
    """Return at most `most` of Nova's domains with server ids after the given one, in the order of their ids."""
    try:
        domains = sorted(
            (each for each in driver._host.list_guests(only_running=False) if str(each.uuid) > after),
            key=lambda each: str(each.uuid),
        )[:most]
        read = {str(each.uuid): _read(each) for each in domains}
    except Exception as error:  # noqa: BLE001 -- libvirt raises many kinds, and none of them is an answer
        return Reading.unread(f"libvirt did not report the disks of all guests ({type(error).__name__})")
    found = []
    for server_id, domain in read.items():
        seen = [*_seen(domain.live, is_running=domain.is_active), *_seen(domain.inactive, is_running=False)]
        found.append(Guest(server_id=server_id, disks=tuple(_disks(seen, _bdms(server_id))) if seen else ()))
    return Reading(tuple(found))


def sources_of_others(driver: Any, server_id: str) -> Reading[tuple[str, str]]:
    """Return (server id, source) of each disk of every other domain on the host, running and for the next start."""
    found = set()
    try:
        for guest in driver._host.list_guests(only_running=False):
            if guest.uuid != server_id:
                domain = _read(guest)
                sources = _sources([*domain.live, *domain.inactive])
                found |= {(str(guest.uuid), source) for source in sources}
    except Exception as error:  # noqa: BLE001 -- libvirt raises many kinds, and none of them is an answer
        return Reading.unread(f"libvirt did not report the disks of all guests ({type(error).__name__})")
    return Reading(tuple(sorted(found)))


def is_same_source(one: str, other: str) -> bool:
    """Whether two sources of disks name the same device, file or RBD image on this host."""
    if one == other:
        return True
    return one.startswith("/") and other.startswith("/") and os.path.realpath(one) == os.path.realpath(other)


def _read(guest: Any) -> _Domain:
    live, inactive = (
        list(ElementTree.fromstring(description).iterfind("./devices/disk"))
        for description in (guest.get_xml_desc(), guest.get_xml_desc(dump_inactive=True))
    )
    # This is read last, so that a guest that has just started counts as running.
    return _Domain(bool(guest.is_active()), live, inactive)


def _seen(found: Iterable[ElementTree.Element], *, is_running: bool) -> Iterator[_Seen]:
    for disk in found:
        for source in _sources([disk]) or [""]:
            yield _Seen(_volume_id(disk) or "", source, is_running)


def _sources(found: Iterable[ElementTree.Element]) -> list[str]:
    """Return the sources of the disks, and the target of a block copy in progress, to which the guest also writes."""
    elements = [each for disk in found for path in ("source", "mirror/source") for each in disk.iterfind(path)]
    named = (
        next((each.get(name) for name in ("dev", "file", "name", "path") if each.get(name)), "") for each in elements
    )
    return [each for each in named if each]


def _disks(seen: Iterable[_Seen], bdms: Collection[Any]) -> list[Disk]:
    found: dict[tuple[str, str], Disk] = {}
    live = {bdm.volume_id for bdm in bdms if not bdm.deleted}
    described = {volume_id: _described(volume_id, bdms) for volume_id in {bdm.volume_id for bdm in bdms}}
    for disk in seen:
        behind = {each for each, sources in described.items() if any(is_same_source(disk.source, s) for s in sources)}
        names = {disk.volume_id} if disk.volume_id else set()
        if disk.volume_id not in behind:
            # After a volume swap the serial is that of the old volume, but the disk is that of the connected volume.
            names |= behind & live
        for volume_id in names:
            row = Disk(
                volume_id=volume_id,
                source=disk.source,
                is_running=disk.is_running,
                is_recognised=volume_id in behind,
            )
            before = found.get((volume_id, disk.source))
            if before is None or not before.is_running:
                found[volume_id, disk.source] = row
    return [found[key] for key in sorted(found)]


def _described(volume_id: str, bdms: Collection[Any]) -> frozenset[str]:
    """Return the sources in the volume's live mappings, or in its newest soft-deleted one if there is no live one."""
    of_volume = [bdm for bdm in bdms if bdm.volume_id == volume_id]
    chosen = [each for each in of_volume if not each.deleted]
    if not chosen:
        chosen = sorted(of_volume, key=lambda each: (str(each.deleted_at), each.id))[-1:]
    infos = (_connection_info(each.connection_info) for each in chosen)
    return frozenset(source for info in infos for source in addresses.sources(info))


def _connection_info(text: str | None) -> dict[str, Any]:
    try:
        info = jsonutils.loads(text or "{}")
    except ValueError:
        return {}
    return info if isinstance(info, dict) else {}


def _bdms(server_id: str) -> list[Any]:
    """Return the block device mappings of the server, live and soft-deleted; none if they cannot be read."""
    reader = context.get_admin_context(read_deleted="yes")
    try:
        found = objects.BlockDeviceMappingList.get_by_instance_uuid(reader, server_id)
    except Exception:  # noqa: BLE001 -- whatever the conductor raises
        # The disks are still reported, but none of them counts as recognised.
        return []
    return [each for each in found if each.is_volume and each.volume_id]


def _volume_id(disk: ElementTree.Element) -> str | None:
    """Return the volume id of the disk.

    It is the serial of the disk, and since Nova 27 also in its alias (nova virt/libvirt/driver.py:_get_volume_config,
    vconfig.py:LibvirtConfigGuestDisk).
    """
    alias = disk.find("alias")
    names = [disk.findtext("serial"), alias.get("name") if alias is not None else None]
    return next((name for each in names if _is_uuid(name := (each or "").removeprefix(_ALIAS))), None)


def _is_uuid(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False
