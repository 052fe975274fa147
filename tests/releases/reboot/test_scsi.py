# SPDX-License-Identifier: Apache-2.0
"""os-brick's real code over a fake /sys and /dev: whether the device at an address is still the volume."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from os_brick.initiator import linuxscsi
from oslo_concurrency import processutils

from dedangle.systems import block_devices, scsi

IQN = "iqn.2010-10.org.openstack:target"
PORT = "5006016012345678"
OURS, OTHER = "3600a098038302d492b2b4e2f58743241", "3600a098038302d492b2b4e2f58743999"


class Devices:
    """The files that the kernel and udev make for SCSI devices, below a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.answers: dict[str, str] = {}
        """What each device itself answers to scsi_id; one that is not here does not answer."""
        for each in ("dev/disk/by-path", "dev/disk/by-id", "sys/block"):
            (root / each).mkdir(parents=True)

    def disk(self, name: str, wwn: str, *by_path: str) -> None:
        (self.root / "dev" / name).touch()
        (self.root / "sys/block" / name / "device").mkdir(parents=True)
        (self.root / "sys/block" / name / "device/wwid").write_text(f"naa.{wwn[1:]}\n")
        link = self.root / "dev/disk/by-id" / f"scsi-{wwn}"
        if not link.is_symlink():
            link.symlink_to(f"../../{name}")
        for each in by_path:
            (self.root / "dev/disk/by-path" / each).symlink_to(f"../../{name}")
        self.answers[f"/dev/{name}"] = wwn

    def multipath(self, name: str, wwn: str, *slaves: str) -> None:
        (self.root / "dev" / name).touch()
        (self.root / "sys/block" / name / "dm").mkdir(parents=True)
        (self.root / "sys/block" / name / "dm/uuid").write_text(f"mpath-{wwn}\n")
        for each in slaves:
            (self.root / "sys/block" / name / "slaves" / each).mkdir(parents=True)

    def execute(self, *command: str, **kwargs: Any) -> tuple[str, str]:
        program, *_, device = command
        assert program == "/lib/udev/scsi_id"
        if device not in self.answers:
            raise processutils.ProcessExecutionError(exit_code=1)
        return f"{self.answers[device]}\n", ""


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Devices:
    made = Devices(tmp_path)

    def inside(path: Any) -> str:
        return f"{tmp_path}{path}"

    def outside(path: str) -> str:
        return path.removeprefix(str(tmp_path))

    paths = SimpleNamespace(
        islink=lambda path: Path(inside(path)).is_symlink(),
        realpath=lambda path: outside(str(Path(inside(path)).resolve())),
    )
    system = SimpleNamespace(
        path=paths,
        stat=lambda path: Path(inside(path)).stat(),
        listdir=lambda path: [each.name for each in Path(inside(path)).iterdir()],
    )
    found = SimpleNamespace(glob=lambda pattern: [outside(str(each)) for each in tmp_path.glob(pattern.lstrip("/"))])
    monkeypatch.setattr(linuxscsi, "open", lambda path: open(inside(path)), raising=False)  # noqa: PTH123, SIM115
    monkeypatch.setattr(linuxscsi, "os", system)
    monkeypatch.setattr(linuxscsi, "glob", found)
    monkeypatch.setattr("os_brick.privileged.rootwrap.execute", made.execute)
    monkeypatch.setattr(block_devices, "ROOT", tmp_path)
    return made


def iscsi(**data: Any) -> dict[str, Any]:
    return {"driver_volume_type": "iscsi", "data": {"target_iqn": IQN, "target_lun": 1, **data}}


def fibre_channel(**data: Any) -> dict[str, Any]:
    return {"driver_volume_type": "fibre_channel", "data": {"target_wwn": [PORT], "target_lun": 300, **data}}


ISCSI_PATH = f"ip-192.0.2.1:3260-iscsi-{IQN}-lun-1"
FC_PATH = f"pci-0000:05:00.2-fc-0x{PORT}-lun-0x012c000000000000"


def other(connection_info: dict[str, Any]) -> str:
    return scsi.other_wwn(connection_info, "sudo")


def test_the_device_is_still_the_volume(devices: Devices) -> None:
    devices.disk("sda", OURS, ISCSI_PATH, FC_PATH)
    devices.multipath("dm-0", OURS, "sda")
    for each in (iscsi, fibre_channel):
        assert other(each(multipath_id=OURS)) is None
        assert other(each(device_path=f"/dev/disk/by-id/scsi-{OURS}")) is None
        assert other(each(device_path="/dev/dm-0", multipath_id=OURS)) is None


@pytest.mark.parametrize("connection_info", [iscsi(multipath_id=OURS), fibre_channel(multipath_id=OURS)])
def test_the_lun_was_given_to_another_volume(devices: Devices, connection_info: dict[str, Any]) -> None:
    devices.disk("sdb", OTHER, "ip-192.0.2.1:3260-iscsi-iqn.of-another-lun-1", f"pci-0-fc-0x{PORT}-lun-1")
    assert other(connection_info) is None
    devices.disk("sda", OTHER, ISCSI_PATH, FC_PATH)
    assert other(connection_info) == OTHER


def test_the_device_answers_with_another_wwn_than_sysfs_keeps(devices: Devices) -> None:
    devices.disk("sda", OURS, ISCSI_PATH)
    devices.answers["/dev/sda"] = OTHER
    assert other(iscsi(multipath_id=OURS)) == OTHER


def test_a_device_that_is_dead_is_no_other_volume(devices: Devices) -> None:
    devices.disk("sda", OURS, ISCSI_PATH)
    devices.answers.clear()
    assert other(iscsi(multipath_id=OURS)) is None


def test_a_path_of_the_multipath_device_is_another_volume(devices: Devices) -> None:
    devices.disk("sda", OURS)
    devices.disk("sdb", OTHER)
    devices.multipath("dm-0", OURS, "sda", "sdb")
    assert other(iscsi(device_path="/dev/dm-0", multipath_id=OURS)) == OTHER


def test_a_multipath_device_of_another_volume(devices: Devices) -> None:
    devices.multipath("dm-0", OTHER)
    assert other(iscsi(device_path="/dev/dm-0", multipath_id=OURS)) == OTHER


def test_without_a_device_or_a_recorded_wwn_there_is_nothing_to_compare(devices: Devices) -> None:
    assert other(iscsi(multipath_id=OURS, device_path="/dev/sda")) is None
    devices.disk("sda", OTHER, ISCSI_PATH)
    assert other(iscsi(device_path="/dev/sda")) is None
    assert other({"driver_volume_type": "rbd", "data": {"name": "volumes/volume-1"}}) is None
