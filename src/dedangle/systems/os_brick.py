# SPDX-License-Identifier: Apache-2.0
"""What os-brick tells of a device on this host."""

from __future__ import annotations

from pathlib import Path

from dedangle.core.records import Reading


def wwn(device_path: str) -> Reading[str]:
    """Return the WWN of the device as udev writes it, read from sysfs; no rows if there is no device or it has none."""
    from os_brick.initiator import linuxscsi

    try:
        real = Path(device_path).resolve()
        if not device_path or not real.exists():
            return Reading()
        name = real.name
        slaves = Path("/sys/block") / name / "slaves"
        names = [each.name for each in slaves.iterdir()] if name.startswith("dm-") and slaves.is_dir() else [name]
        # Without a root helper: sysfs is there for everybody to read.
        found = linuxscsi.LinuxSCSI(None).get_sysfs_wwn(names, name if name.startswith("dm-") else None)
    except Exception as error:  # noqa: BLE001  # os-brick raises whatever its helpers meet
        return Reading.unread(f"os-brick did not tell which device {device_path} is ({type(error).__name__})")
    return Reading((found,) if found else ())
