# SPDX-License-Identifier: Apache-2.0
"""The host's connection of a volume is torn down, only by an address that is still its own."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from dedangle.core import leases
from dedangle.core.leases import Lease
from dedangle.systems import libvirt, nova_compute, os_brick


def lease(context: Any, driver: Any, instance: Any, connection_info: Mapping[str, Any], attachment_id: str) -> Lease:
    """Tell whether the host may disconnect by this connection; what cannot be read speaks against it."""
    in_guests = libvirt.sources_of_others(driver, instance.uuid)
    others = nova_compute.mappings_of_host(context, instance.host, attachment_id)
    for reading in (in_guests, others):
        if not reading.complete:
            return Lease(reading.why)
    told = leases.lease(connection_info, leases.source_of(connection_info), in_guests.rows, others.rows)
    return told if told.why else _of_device(connection_info)


def _of_device(connection_info: Mapping[str, Any]) -> Lease:
    """Compare the device with the volume, if both have a WWN; a device that is not there is nobody's."""
    recorded = leases.recorded_wwn(connection_info)
    path = str((connection_info.get("data") or {}).get("device_path") or "")
    found = os_brick.wwn(path)
    if not found.complete:
        return Lease(found.why)
    if recorded and any(each != recorded for each in found.rows):
        return Lease(f"device {path} has WWN {found.rows[0]}, and the volume had {recorded}")
    return Lease()


def disconnect(
    context: Any, driver: Any, instance: Any, connection_info: dict[str, Any], encryption: Any, *, guest_is_off: bool
) -> None:
    """Take the connection down as the driver does.

    Where the guest is off and its next domain will lack the disk there is nothing to flush: with force os-brick does
    not give up at a device that does not answer any more (nova virt/libvirt/driver.py:_disconnect_volume).
    """
    by_force = getattr(driver, "_disconnect_volume", None)
    if guest_is_off and by_force and "force" in inspect.signature(by_force).parameters:
        by_force(context, connection_info, instance, encryption=encryption, force=True)
    else:
        # Without a device name: where libvirt does not find the disk by its alias it takes whatever disk is at that
        # name, and by now that may be a healthy one (nova virt/libvirt/driver.py:_get_guest_disk_device).
        driver.detach_volume(context, connection_info, instance, "", encryption=encryption)
