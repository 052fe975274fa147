# SPDX-License-Identifier: Apache-2.0
"""The guests of a host, read through the libvirt driver of the nova-compute that dedangle runs in.

The file is long because only this one knows libvirt's XML and the inside of Nova's driver.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from collections.abc import Mapping as MappingType
from typing import Any, NamedTuple
from xml.etree import ElementTree

from nova import conf, context, exception, objects
from oslo_serialization import jsonutils

from dedangle.core import addresses
from dedangle.core.records import Disk, Guest, HostConnection, Reading
from dedangle.systems import block_devices, host_connections

_ALIAS = "ua-"
_UUID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# The namespace of what Nova writes into a domain, whatever its version (nova virt/libvirt/config.py:NOVA_NS).
_METADATA = "{http://openstack.org/xmlns/libvirt/nova/"
# Servers whose mappings are read with one query.
_CHUNK = 50
# Of the shares that Nova's mount manager mounts, by the names of their options in [libvirt].
_MOUNTED = ("nfs", "ceph", "quobyte", "smbfs", "vzstorage")


class _Seen(NamedTuple):
    volume_id: str
    """The volume id in the serial or alias of the disk; empty if it has none."""
    source: str
    target: str
    kind: str
    is_live: bool
    """Whether it is in the current domain; False if it is in the domain for its next start."""


class _Connection(NamedTuple):
    """Where the mappings of a volume say that it is."""

    sources: frozenset[str] = frozenset()
    wwns: frozenset[str] = frozenset()

    def __str__(self) -> str:
        wwns = f" (WWN {', '.join(sorted(self.wwns))})" if self.wwns else ""
        return f"{min(self.sources)}{wwns}" if self.sources else ""


class _Domain(NamedTuple):
    is_active: bool
    is_novas: bool
    disks: tuple[_Seen, ...]
    names_all: bool
    """Whether every disk that is passed through as a SCSI device names its volume: its serial is the device's own."""


def disks(driver: Any, server_id: str) -> Reading[Disk]:
    """Return the disks of the server's domain, of the running one and of its next start, with their volumes.

    The domain is found by its id alone, so guests of servers that Nova has deleted or purged are found too. Empty if
    libvirt has no such domain. A disk appears once for each volume and source, as running if the running domain has it.
    """
    try:
        domain = _look_up(driver, server_id)
    except Exception as error:  # noqa: BLE001 -- libvirt raises many kinds, and none of them is an answer
        return _unread(error)
    return next((guest.reading for guest in _guests({server_id: domain} if domain else {})), Reading())


def guests(driver: Any, after: str, most: int, only: Collection[str] | None) -> Reading[Guest]:
    """Return at most `most` domains with server ids after the given one, in the order of their ids.

    With `only`, return only the domains of these servers.
    """
    try:
        listed = {str(guest.uuid): guest for guest in driver._host.list_guests(only_running=False)}
    except Exception as error:  # noqa: BLE001 -- libvirt raises many kinds, and none of them is an answer
        return Reading.unread(f"libvirt did not list its guests ({type(error).__name__})")
    wanted = (server_id for server_id in sorted(listed) if server_id > after and (only is None or server_id in only))
    domains: dict[str, _Domain] = {}
    unread: list[Guest] = []
    while len(domains) + len(unread) < most and (server_id := next(wanted, None)) is not None:
        domain = _read_listed(driver, server_id, listed[server_id])
        if not domain.complete:
            unread.append(Guest(server_id=server_id, why=domain.why))
        domains.update((server_id, disks) for disks in domain.rows)
    return Reading(tuple(sorted((*_guests(domains), *unread), key=lambda guest: guest.server_id)))


def sources_of_others(driver: Any, server_id: str) -> Reading[tuple[str, str]]:
    """Return (server id, source) of each disk of every other domain on the host, running and for the next start."""
    found = set()
    try:
        for guest in driver._host.list_guests(only_running=False):
            if guest.uuid != server_id:
                found |= {(str(guest.uuid), disk.source) for disk in _read(guest).disks if disk.source}
    except Exception as error:  # noqa: BLE001 -- libvirt raises many kinds, and none of them is an answer
        return Reading.unread(f"libvirt did not report the disks of all guests ({type(error).__name__})")
    return Reading(tuple(sorted(found)))


def unused_connections(driver: Any) -> Reading[HostConnection]:
    """Return the connections to storage that the host holds and that no domain, active or defined, uses."""
    others = sources_of_others(driver, "")
    if not others.complete:
        return Reading.unread(others.why)
    options = conf.CONF.libvirt
    bases = [getattr(options, f"{kind}_mount_point_base", None) or "" for kind in _MOUNTED]
    try:
        return Reading(host_connections.unused({source for _, source in others.rows}, bases))
    except OSError as error:
        return Reading.unread(f"the connections of the host cannot be read ({error.strerror})")


def is_same_source(one: str, other: str) -> bool:
    """Whether two sources of disks name the same device, file or RBD image on this host."""
    sources = _Sources()
    return one == other or sources.real(one) == sources.real(other)


def _look_up(driver: Any, server_id: str) -> _Domain | None:
    """Look up and read the domain of a server; None if libvirt has none."""
    try:
        # Nova looks a domain up by nothing but the uuid (nova virt/libvirt/host.py:_get_domain).
        return _read(driver._host.get_guest(objects.Instance(uuid=server_id)))
    except exception.InstanceNotFound:
        return None


def _read_listed(driver: Any, server_id: str, guest: Any) -> Reading[_Domain]:
    """Read a domain that was listed; no rows: it is gone since."""
    try:
        return Reading((_read(guest),))
    except Exception:  # noqa: BLE001 -- libvirt raises many kinds; the look-up tells if the domain is gone
        pass
    try:
        domain = _look_up(driver, server_id)
    except Exception as error:  # noqa: BLE001 -- libvirt raises many kinds, and none of them is an answer
        return _unread(error)
    return Reading((domain,) if domain else ())


def _unread(error: Exception) -> Reading[Any]:
    return Reading.unread(f"libvirt did not report the disks of the guest ({type(error).__name__})")


def _guests(domains: MappingType[str, _Domain]) -> Iterator[Guest]:
    bdms = _bdms([server_id for server_id, domain in domains.items() if domain.disks])
    sources = _Sources()
    for server_id, domain in domains.items():
        yield Guest(
            server_id=server_id,
            is_running=domain.is_active,
            is_novas=domain.is_novas,
            disks=tuple(_disks(domain, bdms.get(server_id, []), sources)),
            why="" if domain.names_all else "the guest has a disk that does not name its volume",
        )


class _Sources:
    """Names of devices, files and images, and what is behind them; each is looked up once."""

    def __init__(self) -> None:
        self._real: dict[str, str] = {}
        self._wwns: dict[str, str] = {}

    def real(self, source: str) -> str:
        if source not in self._real:
            self._real[source] = os.path.realpath(source) if source.startswith("/") else source
        return self._real[source]

    def wwn(self, source: str) -> str:
        """Return the WWN of the device; empty if the source is no device, or if its WWN is not known."""
        if source not in self._wwns:
            self._wwns[source] = block_devices.wwn(source) if source.startswith("/") else ""
        return self._wwns[source]


def _read(guest: Any) -> _Domain:
    live, inactive = (
        ElementTree.fromstring(description)
        for description in (guest.get_xml_desc(), guest.get_xml_desc(dump_inactive=True))
    )
    elements = {True: live.findall("./devices/disk"), False: inactive.findall("./devices/disk")}
    # No element is kept: to collect the garbage of so many takes longer than to parse them.
    return _Domain(
        disks=tuple(disk for is_live, found in elements.items() for disk in _seen(found, is_live=is_live)),
        names_all=all(disk.get("device") != "lun" or _volume_id(disk) for found in elements.values() for disk in found),
        is_novas=any(element.tag.startswith(_METADATA) for element in live.iterfind("./metadata/*")),
        # This is read last, so that a guest that has just started counts as running.
        is_active=bool(guest.is_active()),
    )


def _seen(found: Iterable[ElementTree.Element], *, is_live: bool) -> Iterator[_Seen]:
    for disk in found:
        target = disk.find("target")
        name = target.get("dev", "") if target is not None else ""
        element = disk.find("source")
        protocol = element.get("protocol") if element is not None else None
        kind = " ".join(word for word in (disk.get("type"), protocol) if word)
        for source in _sources(disk) or [""]:
            yield _Seen(_volume_id(disk) or "", source, name, kind, is_live)


def _sources(disk: ElementTree.Element) -> list[str]:
    """Return the sources of a disk, and the target of a block copy in progress, to which the guest also writes."""
    elements = [element for path in ("source", "mirror/source") for element in disk.iterfind(path)]
    named = (
        next((element.get(name) for name in ("dev", "file", "name", "path") if element.get(name)), "")
        for element in elements
    )
    return [name for name in named if name]


def _disks(domain: _Domain, bdms: Collection[Any], sources: _Sources) -> list[Disk]:
    found: dict[tuple[str, str], Disk] = {}
    of_volume: dict[str, list[Any]] = {}
    for bdm in bdms:
        of_volume.setdefault(bdm.volume_id, []).append(bdm)
    live = {volume_id for volume_id, rows in of_volume.items() if any(not bdm.deleted for bdm in rows)}
    described = {volume_id: _described(rows) for volume_id, rows in of_volume.items()}
    by_place: dict[str, set[str]] = {}
    for volume_id, connection in described.items():
        for place in (*map(sources.real, connection.sources), *connection.wwns):
            by_place.setdefault(place, set()).add(volume_id)
    for disk in domain.disks:
        is_running = disk.is_live and domain.is_active
        wwn = sources.wwn(disk.source)
        # The path of a device may lead to another volume after a while, and the WWN of a volume does not change.
        at_path = by_place.get(sources.real(disk.source), set())
        behind = {each for each in at_path if not wwn or described[each].wwns <= {wwn}} | by_place.get(wwn, set())
        names = {disk.volume_id} if disk.volume_id else set()
        if disk.volume_id not in behind:
            # After a volume swap the serial is that of the old volume, but the disk is that of the connected volume.
            names |= behind & live
        for volume_id in names:
            is_recognised = volume_id in behind
            expected = described[volume_id] if volume_id in live and not is_recognised else _Connection()
            row = Disk(
                volume_id=volume_id,
                source=disk.source,
                is_running=is_running,
                is_recognised=is_recognised,
                target=disk.target,
                kind=disk.kind,
                wwn=wwn,
                expected=str(expected),
            )
            before = found.get((volume_id, disk.source))
            if before is None or (is_running and not before.is_running):
                found[volume_id, disk.source] = row
    return [found[key] for key in sorted(found)]


def _described(bdms: Collection[Any]) -> _Connection:
    """Return the connection in the live mappings of a volume, or in its newest soft-deleted one without a live one."""
    chosen = [bdm for bdm in bdms if not bdm.deleted]
    if not chosen:
        chosen = sorted(bdms, key=lambda bdm: (str(bdm.deleted_at), bdm.id))[-1:]
    infos = [_connection_info(bdm.connection_info) for bdm in chosen]
    return _Connection(
        frozenset(source for info in infos for source in addresses.sources(info)),
        frozenset(filter(None, map(addresses.recorded_wwn, infos))),
    )


def _connection_info(text: str | None) -> dict[str, Any]:
    try:
        info = jsonutils.loads(text or "{}")
    except ValueError:
        return {}
    return info if isinstance(info, dict) else {}


def _bdms(server_ids: Sequence[str]) -> dict[str, list[Any]]:
    """Return the block device mappings of each server, live and soft-deleted; none if they cannot be read."""
    reader = context.get_admin_context(read_deleted="yes")
    found: dict[str, list[Any]] = {}
    for start in range(0, len(server_ids), _CHUNK):
        try:
            rows = objects.BlockDeviceMappingList.get_by_instance_uuids(reader, server_ids[start : start + _CHUNK])
        except Exception:  # noqa: BLE001 -- whatever the conductor raises
            # The disks are still reported, but none of them counts as recognised.
            continue
        for bdm in rows:
            if bdm.is_volume and bdm.volume_id:
                found.setdefault(bdm.instance_uuid, []).append(bdm)
    return found


def _volume_id(disk: ElementTree.Element) -> str | None:
    """Return the volume id of the disk.

    It is the serial of the disk, and since Nova 27 also in its alias (nova virt/libvirt/driver.py:_get_volume_config,
    vconfig.py:LibvirtConfigGuestDisk).
    """
    alias = disk.find("alias")
    serial = disk.findtext("serial") or ""
    if _is_uuid(serial):
        return serial
    name = (alias.get("name") or "" if alias is not None else "").removeprefix(_ALIAS)
    return name if _is_uuid(name) else None


def _is_uuid(name: str) -> bool:
    return _UUID.fullmatch(name) is not None
