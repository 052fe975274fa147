# SPDX-License-Identifier: Apache-2.0
"""The SCSI devices of this host, read with os-brick's own code."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as MappingType
from pathlib import Path
from typing import Any

from os_brick.initiator import linuxscsi
from oslo_concurrency import processutils

from dedangle.core import addresses
from dedangle.systems import block_devices


def other_wwn(connection_info: MappingType[str, Any], root_helper: str) -> str | None:
    """Return the WWN of a device at the volume's address if it differs from the recorded one.

    None if no WWN was recorded, if there is no such device, or if it is still the volume. os-brick removes devices by
    target and LUN, and a storage array reuses a free LUN for the next volume.
    """
    recorded = addresses.recorded_wwn(connection_info)
    if not recorded:
        return None
    scsi = linuxscsi.LinuxSCSI(root_helper)
    for name in sorted(_names(connection_info)):
        for wwn in _wwns(scsi, name):
            if addresses.is_wwn(wwn) and wwn != recorded:
                return wwn
    return None


def _names(connection_info: MappingType[str, Any]) -> set[str]:
    """Return the names in /sys/block of the block devices at the device path and at each target and LUN."""
    device = str((connection_info.get("data") or {}).get("device_path") or "")
    paths = list(_paths_of_targets(connection_info))
    if device.startswith("/dev/"):
        paths.append(block_devices.ROOT / device.lstrip("/"))
    found = {path.resolve().name for path in paths if path.exists()}
    for name in list(found):
        # Check every path of a multipath device; one of them may belong to another volume now.
        slaves = block_devices.entries(block_devices.ROOT / "sys/block" / name / "slaves")
        found.update(each.name for each in slaves)
    return found


def _paths_of_targets(connection_info: MappingType[str, Any]) -> Iterator[Path]:
    # LUNs above 255 have the kernel's own format (linuxscsi.py:_format_lun_id).
    scsi = linuxscsi.LinuxSCSI("")
    wanted = [
        f"{target}-lun-{scsi.process_lun_id(lun) if lun.isdecimal() else lun}"
        for target, lun in addresses.targets(connection_info)
    ]
    for path in (block_devices.ROOT / "dev/disk/by-path").glob("*-lun-*"):
        name = path.name.lower()
        if any(name.endswith((f"-iscsi-{each}", f"-0x{each}")) for each in wanted):
            yield path


def _wwns(scsi: Any, name: str) -> Iterator[str]:
    if name.startswith("dm-"):
        if block_devices.is_multipath(name):
            yield _normal(scsi.get_sysfs_wwn([], mpath=name))
        return
    yield _normal(scsi.get_sysfs_wwn([name]))
    try:
        # This reads from the device itself; sysfs keeps the value from when the device was found.
        yield _normal(scsi.get_scsi_wwn(f"/dev/{name}"))
    except (OSError, processutils.ProcessExecutionError):
        # A LUN that the array has removed does not answer, so it is not another volume.
        return


def _normal(wwn: str | None) -> str:
    return (wwn or "").strip().lower()
