# SPDX-License-Identifier: Apache-2.0
"""The guests of a host, seen through the libvirt driver of the nova-compute that we run in."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any
from uuid import UUID
from xml.etree import ElementTree

from nova import exception

from dedangle.core.records import Disk, Reading

_ALIAS = "ua-"
# Where a <source> names what is behind a disk: a block device, a file, a vhost-user socket, an RBD or iSCSI name.
_SOURCE_ATTRIBUTES = ("dev", "file", "path", "name")


def disks(driver: Any, instance: Any, sources: Mapping[str, Collection[str]]) -> Reading[Disk]:
    """Return the volumes behind the disks of the server's domain, as it runs and as it will start next.

    A volume's disk has the volume id as its serial, and since Nova 27 in its alias too (nova virt/libvirt/driver.py:
    _get_volume_config, vconfig.py:LibvirtConfigGuestDisk). A disk is recognised if its source is one of those that
    Nova's mappings of that volume connect to, by volume id in `sources`. No rows: libvirt has no such domain, so no
    guest runs here. Unread if the driver is not libvirt's.
    """
    host: Any = getattr(driver, "_host", None)
    if not hasattr(host, "get_guest"):
        return Reading.unread("only nova-compute with libvirt tells what disks a guest has")
    try:
        guest = host.get_guest(instance)
        runs = bool(guest.is_active())
        domains = [(guest.get_xml_desc(), runs), (guest.get_xml_desc(dump_inactive=True), False)]
        found = [(disk, running) for domain, running in domains for disk in _disks_of(domain)]
    except exception.InstanceNotFound:
        return Reading()
    except Exception as error:  # noqa: BLE001  # libvirt raises many kinds, and none of them is an answer
        return Reading.unread(f"libvirt did not tell what disks the guest has ({type(error).__name__})")
    told: dict[tuple[str, str], Disk] = {}
    for disk, is_running in found:
        volume_id, source = _volume_id(disk), _source(disk)
        if volume_id:
            # The running domain comes first: what it has, it has, whatever the next start brings.
            is_recognised = bool(source) and source in sources.get(volume_id, ())
            made = Disk(volume_id=volume_id, source=source, is_running=is_running, is_recognised=is_recognised)
            told.setdefault((volume_id, source), made)
        elif disk.get("device") == "lun":
            # A SCSI device that is passed through has its own serial, and Nova gives it none.
            return Reading.unread("the guest has a disk that does not tell its volume")
    return Reading(tuple(told[each] for each in sorted(told)))


def sources_of_others(driver: Any, besides: str) -> Reading[str]:
    """Return what is behind the disks of all other domains on the host, running or not; besides is a server's id."""
    host: Any = getattr(driver, "_host", None)
    if not hasattr(host, "list_guests"):
        return Reading.unread("only nova-compute with libvirt tells what disks its guests have")
    try:
        found = {
            _source(disk)
            for guest in host.list_guests(only_running=False)
            if guest.uuid != besides
            for domain in (guest.get_xml_desc(), guest.get_xml_desc(dump_inactive=True))
            for disk in _disks_of(domain)
        }
    except Exception as error:  # noqa: BLE001  # libvirt raises many kinds, and none of them is an answer
        return Reading.unread(f"libvirt did not tell what disks other guests have ({type(error).__name__})")
    return Reading(tuple(sorted(found - {""})))


def _disks_of(domain: str) -> Iterator[ElementTree.Element]:
    return ElementTree.fromstring(domain).iterfind("./devices/disk")


def _source(disk: ElementTree.Element) -> str:
    element = disk.find("source")
    names = (element.get(name) for name in _SOURCE_ATTRIBUTES) if element is not None else ()
    return next(filter(None, names), "")


def _volume_id(disk: ElementTree.Element) -> str | None:
    alias = disk.find("alias")
    names = [disk.findtext("serial"), alias.get("name") if alias is not None else None]
    return next((name for each in names if _is_uuid(name := (each or "").removeprefix(_ALIAS))), None)


def _is_uuid(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False
