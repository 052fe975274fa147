# SPDX-License-Identifier: Apache-2.0
"""How a host disconnects a volume."""

from __future__ import annotations

import inspect
from typing import Any


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
