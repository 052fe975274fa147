# SPDX-License-Identifier: Apache-2.0
"""The reboot door before a real libvirt and QEMU: disks, mounts and loop devices, and the guest's own count."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from hypervisor import Hypervisor
from storage import loops, mounts

from cases.stage import Stage
from dedangle.lab import rows
from dedangle.lab.builders import Server
from dedangle.lab.client import wait_for
from dedangle.lab.cloud import Cloud

Kind = Literal["HARD", "SOFT"]
# A guest that is not shut down by itself within shutdown_timeout (60 s) is destroyed.
ENDS = {"HARD": "destroyed", "SOFT": "shutdown"}


class Host:
    """What the compute host holds: for Nova and libvirt, for the kernel, and in the guests' own eyes."""

    def __init__(self, home: Path, hypervisor: Hypervisor, stage: Stage) -> None:
        self._home = home
        self._stage = stage
        self.hypervisor = hypervisor

    def disks_seen_by_guest(self, server: str) -> int:
        """How many disks the guest has counted while it started."""

        def counted() -> re.Match[str] | None:
            answer = self._stage.user.user.nova("POST", f"/servers/{server}/action", {"os-getConsoleOutput": {}})
            return re.search(r"BOOTED disks=(\d)", answer.body["output"]) if answer.status == 200 else None

        return int(wait_for(f"the guest of server {server} has booted", counted)[1])

    def exports(self) -> set[str]:
        """The volumes of the loop back end that have a loop device, however it came to be still there."""
        return {name.removeprefix("volume-") for name in loops(self._home / "loops")}

    def shares(self) -> list[Path]:
        """The shares that nova-compute has mounted."""
        return mounts(self._home / "mounts")


@pytest.fixture
def stage(cloud: Cloud) -> Stage:
    return Stage(cloud)


@pytest.fixture
def host(home: Path, hypervisor: Hypervisor, stage: Stage) -> Iterator[Host]:
    host = Host(home, hypervisor, stage)
    yield host
    for server in stage.user.user.nova("GET", "/servers", expect=200).body["servers"]:
        stage.user.delete(server["id"])
    assert (host.exports(), host.shares()) == (set(), [])


def attached(stage: Stage, server: Server, kind: str) -> str:
    """Attach a new volume of a type to the server."""
    volume = stage.user.volume(kind=kind)
    stage.user.attach(server.id, volume)
    return volume


def removed_mappings(before: rows.Snapshot, after: rows.Snapshot) -> set[object]:
    """The volumes whose mappings were soft-deleted, where nothing else changed in either database."""
    changes = rows.diff(before, after)
    for change in changes:
        assert (change.table, set(change.columns)) == ("mappings", {"deleted", "has_deleted_at"})
    return {change.after["volume_id"] for change in changes if change.after and change.after["deleted"]}


@pytest.mark.parametrize("kind", ["HARD", "SOFT"])
def test_reboot_takes_the_dangling_disks_from_the_guest_and_no_other(stage: Stage, host: Host, kind: Kind) -> None:
    server = stage.server()
    dangling = [attached(stage, server, "loop"), attached(stage, server, "nfs")]
    assert host.hypervisor.volumes(server.id) == [*server.volumes, *dangling]
    for volume in dangling:
        stage.breaks.lose_attachment(server.id, volume)
    # Cinder has let go of it, but QEMU has not.
    assert host.exports() == {*server.volumes, dangling[0]}
    assert len(host.shares()) == 1
    before = rows.snapshot(stage.cloud.home)

    stage.user.reboot(server.id, kind)

    assert removed_mappings(before, rows.snapshot(stage.cloud.home)) == set(dangling)
    assert host.hypervisor.volumes(server.id) == list(server.volumes)
    assert host.disks_seen_by_guest(server.id) == len(server.volumes)
    assert host.exports() == set(server.volumes)
    assert host.shares() == []
    assert host.hypervisor.endings(server.id) == [ENDS[kind]]
    # The names of the devices are free again, for Nova and for the guest.
    stage.user.attach(server.id, dangling[1])
    assert host.hypervisor.volumes(server.id) == [*server.volumes, dangling[1]]


@pytest.mark.parametrize("kind", ["HARD", "SOFT"])
def test_reboot_of_a_healthy_server_changes_nothing(stage: Stage, host: Host, kind: Kind) -> None:
    server = stage.server()
    volumes = [*server.volumes, attached(stage, server, "nfs")]
    before, shares = rows.snapshot(stage.cloud.home), host.shares()

    stage.user.reboot(server.id, kind)

    assert rows.diff(before, rows.snapshot(stage.cloud.home)) == []
    assert host.hypervisor.volumes(server.id) == volumes
    assert host.disks_seen_by_guest(server.id) == len(volumes)
    assert host.exports() == set(server.volumes)
    assert host.shares() == shares
    assert host.hypervisor.endings(server.id) == [ENDS[kind]]


def test_a_share_stays_mounted_for_another_server_and_no_longer(stage: Stage, host: Host) -> None:
    server, other = stage.server(0), stage.server(0)
    dangling, used = attached(stage, server, "nfs"), attached(stage, other, "nfs")
    shares = host.shares()
    stage.breaks.lose_attachment(server.id, dangling)

    stage.user.reboot(server.id)

    assert host.hypervisor.volumes(server.id) == list(server.volumes)
    assert host.shares() == shares
    assert host.hypervisor.volumes(other.id) == [*other.volumes, used]
    assert host.hypervisor.endings(other.id) == []
    stage.user.detach(other.id, used)
    assert host.shares() == []


def test_attachment_that_nova_released_goes_once_the_guest_proves_to_be_without_the_disk(
    stage: Stage, host: Host
) -> None:
    server = stage.server(0)
    volume = attached(stage, server, "nfs")
    (key,) = stage.mapping_keys(server.id, [volume])
    stage.edit_mapping(server, volume, deleted=int(key.split("/")[1]))
    before = rows.snapshot(stage.cloud.home)

    # Nova's own soft reboot starts the same domain again, and what was read before a hard one still had the disk.
    stage.user.reboot(server.id, "SOFT")
    assert host.hypervisor.volumes(server.id) == [*server.volumes, volume]
    stage.user.reboot(server.id, "HARD")
    assert host.hypervisor.volumes(server.id) == list(server.volumes)
    assert rows.diff(before, rows.snapshot(stage.cloud.home)) == []

    assert len(host.shares()) == 1

    stage.user.reboot(server.id, "SOFT")
    # The deleted mapping still says how the host is connected.
    assert host.shares() == []
    gone = {change.table: change.columns for change in rows.diff(before, rows.snapshot(stage.cloud.home))}
    assert gone == {
        "volumes": {"status": ("in-use", "available"), "attach_status": ("attached", "detached")},
        "attachments": {"attach_status": ("attached", "detached"), "deleted": (0, 1)},
    }


@contextmanager
def configured(cloud: Cloud, option: str) -> Iterator[None]:
    """Run Nova with one more line in [dedangle]."""
    own = cloud.nova_conf.read_text()
    cloud.nova_conf.write_text(f"{own}\n[dedangle]\n{option}\n")
    cloud.restart("nova")
    try:
        yield
    finally:
        cloud.nova_conf.write_text(own)
        cloud.restart("nova")


def test_a_deferring_soft_reboot_leaves_mapping_and_disk_to_a_hard_one(stage: Stage, host: Host) -> None:
    server = stage.server(0)
    dangling = attached(stage, server, "nfs")
    stage.breaks.lose_attachment(server.id, dangling)
    before = rows.snapshot(stage.cloud.home)

    with configured(stage.cloud, "soft_reboot = defer"):
        stage.user.reboot(server.id, "SOFT")

        assert rows.diff(before, rows.snapshot(stage.cloud.home)) == []
        assert host.hypervisor.volumes(server.id) == [*server.volumes, dangling]
        assert host.disks_seen_by_guest(server.id) == 2
        assert len(host.shares()) == 1

        stage.user.reboot(server.id, "HARD")

    assert removed_mappings(before, rows.snapshot(stage.cloud.home)) == {dangling}
    assert host.hypervisor.volumes(server.id) == list(server.volumes)
    assert host.shares() == []
