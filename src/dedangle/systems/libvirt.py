# SPDX-License-Identifier: Apache-2.0
"""The guest itself, seen through the libvirt driver of the nova-compute that we run in."""

from __future__ import annotations

from typing import Any
from uuid import UUID
from xml.etree import ElementTree

from nova import exception

from dedangle.core.doors import Policy
from dedangle.core.records import Disk, Finding, Outcome, Reading, Result

_ALIAS = "ua-"


class ThisHost:
    """The host of one server's nova-compute, asked by that nova-compute itself."""

    def __init__(self, driver: Any, instance: Any) -> None:
        self._driver = driver
        self._instance = instance

    def disks(self, server_id: str, host: str) -> Reading[Disk]:
        if (server_id, host) != (self._instance.uuid, self._instance.host):
            return Reading.unread(f"host {host} cannot be asked from here")
        return disks(self._driver, self._instance)

    def acts(self, host: str) -> bool:  # noqa: ARG002 - whoever asks is the one that acts
        return False

    def may_answer(self, host: str) -> bool:
        return host == self._instance.host

    def carry_out(self, finding: Finding, host: str, policy: Policy) -> Outcome:  # noqa: ARG002
        return Outcome(result=Result.FAILED, detail=f"host {host} is the one that acts")


def disks(driver: Any, instance: Any) -> Reading[Disk]:
    """The volumes behind the disks of the server's domain, as it runs and as it will start next.

    A volume's disk has the volume id as its serial, and since Nova 27 in its alias too (nova virt/libvirt/driver.py:
    _get_volume_config, vconfig.py:LibvirtConfigGuestDisk). No rows: libvirt has no such domain, so no guest runs here.
    Unread where the driver is not libvirt's.
    """
    host: Any = getattr(driver, "_host", None)
    if not hasattr(host, "get_guest"):
        return Reading.unread("only nova-compute with libvirt tells what disks a guest has")
    try:
        guest = host.get_guest(instance)
        domains = [guest.get_xml_desc(), guest.get_xml_desc(dump_inactive=True)]
        found = [each for domain in domains for each in ElementTree.fromstring(domain).iterfind("./devices/disk")]
    except exception.InstanceNotFound:
        return Reading()
    except Exception as error:
        return Reading.unread(f"libvirt did not tell what disks the guest has ({type(error).__name__})")
    volumes = set()
    for disk in found:
        volume_id = _volume_id(disk)
        if volume_id:
            volumes.add(volume_id)
        elif disk.get("device") == "lun":
            # A SCSI device that is passed through has its own serial, and Nova gives it none.
            return Reading.unread("the guest has a disk that does not tell its volume")
    return Reading(tuple(Disk(volume_id=each) for each in sorted(volumes)))


def _volume_id(disk: ElementTree.Element) -> str | None:
    alias = disk.find("alias")
    names = [disk.findtext("serial"), alias.get("name") if alias is not None else None]
    return next((name for each in names if _is_uuid(name := (each or "").removeprefix(_ALIAS))), None)


def _is_uuid(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False
