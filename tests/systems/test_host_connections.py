# SPDX-License-Identifier: Apache-2.0
"""The connections that a host holds and no guest uses, in a tree as /sys and /proc have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dedangle.core.records import HostConnection
from dedangle.systems import block_devices, host_connections

TARGET, SUBSYSTEM = "iqn.2010-10.org.openstack:volume-1", "nqn.2014-08.org:volume-2"


class Machine:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("proc/self/mountinfo", "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n")
        self.write("proc/swaps", "Filename Type Size Used Priority\n")
        self.block("sda", "8:0")
        self.write("sys/block/sda/sda1/partition", "1")
        self.write("sys/block/sda/sda1/dev", "8:1\n")

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def block(self, name: str, number: str, *holders: str) -> None:
        self.write(f"sys/block/{name}/dev", f"{number}\n")
        for holder in holders:
            self.write(f"sys/block/{name}/holders/{holder}", "")
            self.write(f"sys/block/{holder}/slaves/{name}", "")

    def lun(self, session: int, lun: int, name: str) -> None:
        self.write(f"sys/class/iscsi_session/session{session}/targetname", f"{TARGET}\n")
        place = f"sys/class/iscsi_session/session{session}/device/target0:0:0/0:0:0:{lun}/block/{name}/dev"
        self.write(place, "")

    def map(self, name: str, wwid: str) -> None:
        self.block(name, "253:0")
        self.write(f"sys/block/{name}/dm/uuid", f"mpath-{wwid}\n")
        self.write(f"sys/block/{name}/dm/name", f"{wwid}\n")

    def mount(self, source: str, point: str) -> None:
        table = self.root / "proc/self/mountinfo"
        table.write_text(f"{table.read_text()}2 1 {source} / {point} rw - nfs4 share rw\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(block_devices, "ROOT", tmp_path)
    return Machine(tmp_path)


def unused(*sources: str) -> list[tuple[str, str]]:
    return [(each.kind, each.name) for each in host_connections.unused(sources, ["/mnt/nova", ""])]


def test_a_machine_without_any(machine: Machine) -> None:
    assert unused() == []


def test_a_lun_that_no_guest_has(machine: Machine) -> None:
    for number, name in enumerate(("sdb", "sdc")):
        machine.block(name, f"8:{16 + number}")
        machine.lun(1, number, name)
    assert unused("/dev/sdb") == [("iscsi", f"{TARGET} LUN 1")]
    assert unused("/dev/sdb", "/dev/sdc") == []
    machine.mount("8:17", "/srv")
    assert unused("/dev/sdb") == []


def test_a_session_without_a_device(machine: Machine) -> None:
    machine.write("sys/class/iscsi_session/session1/targetname", TARGET)
    assert host_connections.unused((), ()) == (HostConnection(kind="iscsi", name=TARGET),)


def test_a_map_is_named_in_place_of_its_paths(machine: Machine) -> None:
    machine.map("dm-0", "3600")
    for number, name in enumerate(("sdb", "sdc")):
        machine.block(name, f"8:{16 + number}", "dm-0")
        machine.lun(number, 1, name)
    found = host_connections.unused((), ())
    assert found == (HostConnection(kind="multipath", name="3600", devices=("dm-0", "sdb", "sdc")),)
    assert unused("/dev/dm-0") == []
    # Whatever is built on it may be in use: LVM, or a key of the host's own.
    machine.block("dm-1", "253:1")
    machine.block("dm-0", "253:0", "dm-1")
    assert unused() == []


def test_a_subsystem_over_a_network_and_not_the_disk_of_the_machine(machine: Machine) -> None:
    for number, (transport, names) in enumerate({"pcie": ["nvme0n1"], "tcp": ["nvme1c1n1"]}.items()):
        machine.write(f"sys/class/nvme/nvme{number}/transport", f"{transport}\n")
        machine.write(f"sys/class/nvme/nvme{number}/subsysnqn", f"{SUBSYSTEM}{number}\n")
        for name in names:
            machine.write(f"sys/class/nvme/nvme{number}/{name}/x", "")
    machine.block("nvme1n1", "259:1")
    assert host_connections.unused((), ()) == (HostConnection(kind="nvme", name=f"{SUBSYSTEM}1", devices=("nvme1n1",)),)
    assert unused("/dev/nvme1n1") == []


def test_a_share_below_novas_mounts(machine: Machine) -> None:
    machine.mount("0:50", "/mnt/nova/a\\040b")
    machine.mount("0:51", "/mnt/other/c")
    assert unused() == [("mount", "/mnt/nova/a b")]
    assert unused("/mnt/nova/a b/volume-1") == []
