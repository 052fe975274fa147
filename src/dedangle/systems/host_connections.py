# SPDX-License-Identifier: Apache-2.0
"""The connections to storage that this host holds, read from /sys and /proc; nothing is run and nothing is changed."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from dedangle.core.records import HostConnection
from dedangle.systems import block_devices
from dedangle.systems.block_devices import entries, is_multipath, text

_REMOTE = ("tcp", "rdma", "fc")
# A path of a namespace that several controllers share has the number of its controller in its name.
_PATH_OF_NAMESPACE = re.compile(r"(nvme\d+)c\d+(n\d+)")


def unused(sources: Collection[str], mount_bases: Collection[str]) -> tuple[HostConnection, ...]:
    """Return the connections that none of the sources of the guests' disks, and nothing else on the host, uses.

    sources are device paths and files of running and defined domains; mount_bases the directories below which Nova
    mounts shares. A device counts as used if it or what is built on it is a guest's, is mounted, or is held by anything
    but multipath. Raises OSError.
    """
    real = {os.path.realpath(source) for source in sources if source.startswith("/")}
    devices = _Devices({Path(path).name for path in real})
    found = [
        *_multipath(devices),
        *_iscsi(devices),
        *_nvme(devices),
        *_mounts(real, mount_bases),
    ]
    return tuple(sorted(found, key=lambda connection: (connection.kind, connection.name)))


class _Devices:
    def __init__(self, of_guests: Collection[str]) -> None:
        self._of_guests = of_guests
        mounts = text(block_devices.ROOT / "proc/self/mountinfo").splitlines()
        self._mounted = {line.split()[2] for line in mounts}
        self._swaps = {Path(line.split()[0]).name for line in text(block_devices.ROOT / "proc/swaps").splitlines()[1:]}

    def is_used(self, name: str) -> bool:
        """Whether the device is in use; what holds it decides, if that is a multipath map."""
        place = block_devices.ROOT / "sys/block" / name
        parts = [place, *(partition.parent for partition in place.glob("*/partition"))]
        if any(part.name in self._of_guests or part.name in self._swaps for part in parts):
            return True
        if any(text(part / "dev").strip() in self._mounted for part in parts):
            return True
        holders = [holder.name for part in parts for holder in entries(part / "holders")]
        return any(not is_multipath(holder) or self.is_used(holder) for holder in holders)

    def is_in_map(self, name: str) -> bool:
        return any(is_multipath(holder.name) for holder in entries(block_devices.ROOT / "sys/block" / name / "holders"))


def _multipath(devices: _Devices) -> Iterator[HostConnection]:
    for place in entries(block_devices.ROOT / "sys/block"):
        if is_multipath(place.name) and not devices.is_used(place.name):
            paths = tuple(slave.name for slave in entries(place / "slaves"))
            yield HostConnection(kind="multipath", name=text(place / "dm/name").strip(), devices=(place.name, *paths))


def _iscsi(devices: _Devices) -> Iterator[HostConnection]:
    for session in entries(block_devices.ROOT / "sys/class/iscsi_session"):
        target = text(session / "targetname").strip()
        # Below it a SCSI device is named host:channel:target:lun.
        luns = {
            block.name: block.parent.parent.name.split(":")[-1] for block in session.glob("device/target*/*/block/*")
        }
        if not luns:
            yield HostConnection(kind="iscsi", name=target)
        for name, lun in sorted(luns.items()):
            # The map is named where it has one.
            if not devices.is_in_map(name) and not devices.is_used(name):
                yield HostConnection(kind="iscsi", name=f"{target} LUN {lun}", devices=(name,))


def _nvme(devices: _Devices) -> Iterator[HostConnection]:
    namespaces: dict[str, set[str]] = {}
    for controller in entries(block_devices.ROOT / "sys/class/nvme"):
        if text(controller / "transport").strip() in _REMOTE:
            names = {_PATH_OF_NAMESPACE.sub(r"\1\2", namespace.name) for namespace in controller.glob("nvme*n*")}
            namespaces.setdefault(text(controller / "subsysnqn").strip(), set()).update(names)
    for subsystem, names in namespaces.items():
        if not any(map(devices.is_used, names)):
            yield HostConnection(kind="nvme", name=subsystem, devices=tuple(sorted(names)))


def _mounts(sources: Collection[str], bases: Collection[str]) -> Iterator[HostConnection]:
    roots = [os.path.realpath(base) for base in bases if base]
    for line in text(block_devices.ROOT / "proc/self/mountinfo").splitlines():
        point = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), line.split()[4])
        is_novas = any(point.startswith(f"{root}/") for root in roots)
        if is_novas and not any(source.startswith(f"{point}/") for source in sources):
            yield HostConnection(kind="mount", name=point)
