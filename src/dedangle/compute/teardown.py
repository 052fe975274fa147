# SPDX-License-Identifier: Apache-2.0
"""Disconnect a volume from a host."""

from __future__ import annotations

import inspect
from typing import Any

from dedangle.compute.budget import Budget, OutOfTimeError
from dedangle.core.records import Refusal


def disconnect(
    context: Any, driver: Any, instance: Any, connection_info: dict[str, Any], encryption: Any, *, guest_is_off: bool
) -> None:
    """Disconnect the volume through the virt driver.

    If the guest is off and its next domain will not have the disk, there is nothing to flush. With force, os-brick also
    removes a device that no longer answers (nova virt/libvirt/driver.py:_disconnect_volume).
    """
    by_force = getattr(driver, "_disconnect_volume", None)
    if guest_is_off and by_force and "force" in inspect.signature(by_force).parameters:
        by_force(context, connection_info, instance, encryption=encryption, force=True)
    else:
        # Without a device name, because the driver falls back to it if it does not find the disk by its alias, and
        # another disk may have the name now (nova virt/libvirt/driver.py:_get_guest_disk_device).
        driver.detach_volume(context, connection_info, instance, "", encryption=encryption)


def attempt(
    budget: Budget,
    context: Any,
    driver: Any,
    instance: Any,
    connection_info: dict[str, Any],
    encryption: Any,
    *,
    guest_is_off: bool,
) -> Refusal | None:
    """Disconnect the volume within the budget; return why the connection may still exist."""
    try:
        budget.spend(
            lambda: disconnect(context, driver, instance, connection_info, encryption, guest_is_off=guest_is_off)
        )
    except OutOfTimeError as error:
        return Refusal(f"the disconnect timed out: {error}")
    except Exception as error:  # noqa: BLE001  # whatever the driver raises, the connection may be left
        return Refusal(f"the disconnect failed ({type(error).__name__})")
    return None
