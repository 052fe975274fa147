# SPDX-License-Identifier: Apache-2.0
"""The reboot door before a real libvirt and QEMU: disks, mounts, loop devices and images in Ceph, and the guest's
own count."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import pytest
from ceph import Cluster
from host import Host, attached, ghost

from cases.stage import Stage
from dedangle.lab import rows
from dedangle.lab.cloud import Cloud

Kind = Literal["HARD", "SOFT"]
# A guest that is not shut down by itself within shutdown_timeout (60 s) is destroyed.
ENDS = {"HARD": "destroyed", "SOFT": "shutdown"}


def removed_mappings(before: rows.Snapshot, after: rows.Snapshot) -> set[object]:
    """The volumes whose mappings were soft-deleted, where nothing else changed in either database."""
    changes = rows.diff(before, after)
    for change in changes:
        assert (change.table, set(change.columns)) == ("mappings", {"deleted", "has_deleted_at"})
    return {change.after["volume_id"] for change in changes if change.after and change.after["deleted"]}


@pytest.fixture
def volume_types(request: pytest.FixtureRequest) -> tuple[str, ...]:
    if "rbd" in request.param:
        request.getfixturevalue("ceph")
    types: tuple[str, ...] = request.param
    return types


@pytest.fixture(params=[pytest.param("nfs", marks=pytest.mark.thorough), "rbd"])
def volume_type(request: pytest.FixtureRequest) -> str:
    if request.param == "rbd":
        request.getfixturevalue("ceph")
    return str(request.param)


@pytest.mark.parametrize(
    ("volume_types", "kind"),
    [
        (("loop", "nfs"), "HARD"),
        (("rbd",), "SOFT"),
        pytest.param(("loop", "nfs"), "SOFT", marks=pytest.mark.thorough),
        pytest.param(("rbd",), "HARD", marks=pytest.mark.thorough),
    ],
    indirect=["volume_types"],
    ids=lambda each: each if isinstance(each, str) else "-".join(each),
)
def test_reboot_takes_the_dangling_disks_from_the_guest_and_no_other(
    stage: Stage, host: Host, kind: Kind, volume_types: tuple[str, ...]
) -> None:
    server = stage.server()
    dangling = [attached(stage, server, each) for each in volume_types]
    assert host.hypervisor.volumes(server.id) == [*server.volumes, *dangling]
    for volume in dangling:
        stage.breaks.lose_attachment(server.id, volume)
    # Cinder has released the volume, but QEMU still has it.
    of_type = {each: {volume} for each, volume in zip(volume_types, dangling, strict=True)}
    assert host.exports() == {*server.volumes, *of_type.get("loop", ())}
    assert len(host.shares()) == len(of_type.get("nfs", ()))
    assert host.watched() == dict.fromkeys(of_type.get("rbd", ()), 1)
    before = rows.snapshot(stage.cloud.home)

    stage.user.reboot(server.id, kind)

    assert removed_mappings(before, rows.snapshot(stage.cloud.home)) == set(dangling)
    assert host.hypervisor.volumes(server.id) == list(server.volumes)
    assert host.disks_seen_by_guest(server.id) == len(server.volumes)
    assert host.exports() == set(server.volumes)
    assert host.shares() == []
    host.wait_watched({})
    assert host.hypervisor.endings(server.id) == [ENDS[kind]]
    # The names of the devices are free again, for Nova and for the guest.
    stage.user.attach(server.id, dangling[-1])
    assert host.hypervisor.volumes(server.id) == [*server.volumes, dangling[-1]]


def test_number_8_server_whose_device_is_dead_comes_back_active(stage: Stage, host: Host) -> None:
    server = stage.server(0)
    dead = attached(stage, server, "nfs")
    stage.breaks.delete_volume_behind(dead)
    before = rows.snapshot(stage.cloud.home)
    (share,) = host.shares()
    assert not (share / f"volume-{dead}").exists()

    stage.user.reboot(server.id, "HARD")

    assert stage.user.status(server.id) == "ACTIVE"
    assert removed_mappings(before, rows.snapshot(stage.cloud.home)) == {dead}
    assert host.disks_seen_by_guest(server.id) == 1
    assert host.shares() == []


@pytest.mark.parametrize("kind", ["HARD", pytest.param("SOFT", marks=pytest.mark.thorough)])
def test_reboot_of_a_healthy_server_changes_nothing(stage: Stage, host: Host, kind: Kind, volume_type: str) -> None:
    server = stage.server()
    volumes = [*server.volumes, attached(stage, server, volume_type)]
    before, shares, watched = rows.snapshot(stage.cloud.home), host.shares(), host.watched()

    stage.user.reboot(server.id, kind)

    assert rows.diff(before, rows.snapshot(stage.cloud.home)) == []
    assert host.hypervisor.volumes(server.id) == volumes
    assert host.disks_seen_by_guest(server.id) == len(volumes)
    assert host.exports() == set(server.volumes)
    assert host.shares() == shares
    host.wait_watched(watched)
    assert host.hypervisor.endings(server.id) == [ENDS[kind]]


def test_an_image_of_ceph_is_closed_for_one_server_and_stays_open_for_its_neighbour(
    stage: Stage, host: Host, ceph: Cluster
) -> None:
    server, other = stage.server(0), stage.server(0)
    dangling, kept, used = (attached(stage, each, "rbd") for each in (server, server, other))
    assert host.watched() == {dangling: 1, kept: 1, used: 1}
    stage.breaks.lose_attachment(server.id, dangling)

    stage.user.reboot(server.id)

    host.wait_watched({kept: 1, used: 1})
    assert host.hypervisor.volumes(server.id) == [*server.volumes, kept]
    assert host.disks_seen_by_guest(server.id) == 2
    assert host.hypervisor.volumes(other.id) == [*other.volumes, used]
    assert host.hypervisor.endings(other.id) == []


def test_hard_reboot_ends_a_ghost(stage: Stage, host: Host, ceph: Cluster) -> None:
    server = stage.server(0)
    volume = ghost(stage, server, "rbd")
    assert host.hypervisor.volumes(server.id) == [*server.volumes, volume]
    assert ceph.watchers(f"volume-{volume}") == 1
    before = rows.snapshot(stage.cloud.home)
    assert before.volumes[volume]["status"] == "available"

    stage.user.reboot(server.id)

    assert rows.diff(before, rows.snapshot(stage.cloud.home)) == []
    assert host.hypervisor.volumes(server.id) == list(server.volumes)
    assert host.disks_seen_by_guest(server.id) == 1
    host.wait_watched({})


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


def test_number_10_attachment_that_nova_released_goes_with_the_guest_that_had_the_disk(
    stage: Stage, host: Host, volume_type: str
) -> None:
    server = stage.server(0)
    volume = attached(stage, server, volume_type)
    (key,) = stage.mapping_keys(server.id, [volume])
    stage.edit_mapping(server, volume, deleted=int(key.split("/")[1]))
    rows.settle(stage.cloud.home, instance_uuid=server.id)
    before = rows.snapshot(stage.cloud.home)
    assert host.hypervisor.volumes(server.id) == [*server.volumes, volume]

    # It becomes a hard one: Nova's own soft reboot would start the same domain again.
    stage.user.reboot(server.id, "SOFT")

    assert host.hypervisor.volumes(server.id) == list(server.volumes)
    # The deleted mapping still says how the host is connected.
    assert host.shares() == []
    host.wait_watched({})
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


def test_a_deferring_soft_reboot_leaves_mapping_and_disk_to_a_hard_one(
    stage: Stage, host: Host, volume_type: str
) -> None:
    server = stage.server(0)
    dangling = attached(stage, server, volume_type)
    stage.breaks.lose_attachment(server.id, dangling)
    before = rows.snapshot(stage.cloud.home)

    with configured(stage.cloud, "soft_reboot = defer"):
        stage.user.reboot(server.id, "SOFT")

        assert rows.diff(before, rows.snapshot(stage.cloud.home)) == []
        assert host.hypervisor.volumes(server.id) == [*server.volumes, dangling]
        assert host.disks_seen_by_guest(server.id) == 2
        assert len(host.shares()) == (volume_type == "nfs")
        assert host.watched() == ({dangling: 1} if volume_type == "rbd" else {})

        stage.user.reboot(server.id, "HARD")

    assert removed_mappings(before, rows.snapshot(stage.cloud.home)) == {dangling}
    assert host.hypervisor.volumes(server.id) == list(server.volumes)
    assert host.shares() == []
    host.wait_watched({})
