# SPDX-License-Identifier: Apache-2.0
"""The command and the sweep keep what a running guest uses, whatever the databases and the disks' serials are.

The lab runs on RabbitMQ: with its in-process transport nobody else can ask the host.
"""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from bed import Bed
from ceph import POOL, Cluster
from host import Host, attached, ghost
from hypervisor import Hypervisor, libvirtd
from storage import mounts, pass_mounts_on, run

from cases.stage import Stage
from dedangle.core import times
from dedangle.lab import rows
from dedangle.lab.builders import Server
from dedangle.lab.client import wait_for
from dedangle.lab.cloud import MANAGER, Cloud
from dedangle.lab.config import COMPUTE_HOST
from shell import Dedangle, Done

NOVA_MANAGER = "nova.compute.manager.ComputeManager"
# Longer than dedangle leaves Nova to end the guest of a deleted server: from then on only the host knows.
HOURS = timedelta(hours=2)
OTHER = "lab-compute-2"
DOORS = {
    "sweep": ("sweep", "--execute", "--yes"),
    "command": ("cleanup", "--execute", "--yes", "-f", "json"),
    "command-no-host": ("cleanup", "--execute", "--yes", "-f", "json", "--no-host"),
}


@pytest.fixture(scope="module")
def cloud(bed: Bed, mariadb: None) -> Iterator[Cloud]:
    nova = {
        "DEFAULT": {
            "running_deleted_instance_action": "log",
            "running_deleted_instance_poll_interval": 2,
            # Else a nova-compute that starts waits for up to a minute before its first periodic tasks.
            "periodic_fuzzy_delay": 0,
        },
        # A removal at the host must not fail because the machine is busy.
        "dedangle": {"reboot_budget": 60},
    }
    with bed.lab("lab-rabbitmq", database="mariadb", nova=nova) as cloud:
        yield cloud


@pytest.fixture
def host(host: Host, stage: Stage) -> Iterator[Host]:
    """The compute host, which is given back without the guests and attachments that outlive their servers."""
    yield host
    servers = {each["id"] for each in stage.user.user.nova("GET", "/servers", expect=200).body["servers"]}
    for guest in host.hypervisor.guests() - servers:
        host.hypervisor.end(guest)
    found = rows.snapshot(stage.cloud.home)
    named = {each["attachment_id"] for each in found.mappings.values() if not each["deleted"]}
    for attachment, row in found.attachments.items():
        if not row["deleted"] and attachment not in named:
            stage.cloud.nova_user.cinder("DELETE", f"/attachments/{attachment}", expect=200)


def opened(door: str, stage: Stage, server: Server) -> Done:
    """Open a door with --execute; the command gets the server."""
    verb, *options = DOORS[door]
    return Dedangle(stage.cloud)(verb, *([server.id] if verb == "cleanup" else []), *options)


def delete_while_host_is_down(stage: Stage, server: Server) -> None:
    """Delete a server in the databases only, while Cinder fails; its guest runs on, and its host comes back."""
    cloud = stage.cloud
    services = cloud.admin.nova("GET", "/os-services?binary=nova-compute", expect=200).body["services"]
    service = f"/os-services/{services[0]['id']}"
    cloud.stop("nova-compute")
    cloud.admin.nova("PUT", service, {"forced_down": True}, expect=200)
    stage.breaks.delete_server_while_cinder_fails(server.id)
    cloud.start("nova-compute")
    cloud.admin.nova("PUT", service, {"forced_down": False}, expect=200)


def let_hours_pass(stage: Stage, server: Server) -> None:
    """Move the times of the server's rows in Nova, and of what an audit finds, into the past."""
    then = datetime.now(timezone.utc).replace(tzinfo=None) - HOURS
    moments = {"deleted_at": then, "terminated_at": then, "updated_at": then}
    stage.edit("nova_cell1", "instances", {"uuid": server.id}, **moments)
    where = {"instance_uuid": server.id}
    stage.edit("nova_cell1", "instance_actions", where, start_time=then, finish_time=then, updated_at=then)
    assert Dedangle(stage.cloud)("audit").code == 0
    path = stage.cloud.home.state / "dedangle" / "sightings.json"
    seen = json.loads(path.read_text())
    seen["first_seen"] = {key: (times.parse(moment) - HOURS).isoformat() for key, moment in seen["first_seen"].items()}
    path.write_text(json.dumps(seen))


@pytest.mark.parametrize("door", ["sweep", pytest.param("command-no-host", marks=pytest.mark.thorough)])
def test_deleted_server_whose_guest_runs_on_keeps_its_disks_until_the_guest_ends(
    stage: Stage, host: Host, ceph: Cluster, door: str
) -> None:
    # Its attachments also prove that the credentials see all projects.
    stage.server(0)
    server = stage.server(0)
    volumes = [*server.volumes, attached(stage, server, "rbd")]
    delete_while_host_is_down(stage, server)
    still_there = f"[instance: {server.id}] Detected instance with name label"
    wait_for("nova-compute sees the guest", lambda: still_there in (stage.cloud.logs / "nova.log").read_text())
    let_hours_pass(stage, server)
    before = rows.snapshot(stage.cloud.home)
    assert {each["volume_id"] for each in before.attachments_of(server.id)} == set(volumes)
    assert before.mappings_of(server.id) == []

    done = opened(door, stage, server)

    assert done.code == 0, done.err
    assert rows.diff(before, rows.snapshot(stage.cloud.home)) == [], done.out
    assert host.hypervisor.volumes(server.id) == volumes
    assert host.watched() == {volumes[1]: 1}

    end_as_told(stage, host, server)
    done = opened(door, stage, server)

    after = rows.snapshot(stage.cloud.home)
    assert after.attachments_of(server.id) == [], done.out
    assert [after.volumes[each]["status"] for each in volumes] == ["available", "available"]


def end_as_told(stage: Stage, host: Host, server: Server) -> None:
    """End the guest of a deleted server by the commands of what the audit finds on its host."""
    found = Dedangle(stage.cloud)("audit", "--hosts", "-f", "json").findings
    (commands,) = {tuple(each["next"]) for each in found if each["code"] == "disk-without-mapping"}
    assert all(each.startswith(f"ssh {COMPUTE_HOST} virsh -c qemu:///system ") for each in commands)
    for each in commands:
        host.hypervisor.virsh(*each.split()[5:])
    assert server.id not in host.hypervisor.guests()


def test_client_of_ceph_keeps_an_attachment_that_no_host_vouches_for(
    stage: Stage, host: Host, ceph: Cluster, tmp_path: Path
) -> None:
    # Its attachments also prove that the credentials see all projects.
    stage.server(0)
    server = stage.server(0)
    volume = attached(stage, server, "rbd")
    delete_while_host_is_down(stage, server)
    let_hours_pass(stage, server)
    conf = tmp_path / "ceph.conf"
    conf.write_text(f"[dedangle]\nceph_conf = {ceph.conf}\n")
    plan = ("cleanup", server.id, "--no-host", "-f", "json")
    # As a host without dedangle: nothing there tells that the guest runs on.
    stage.cloud.manager = NOVA_MANAGER
    stage.cloud.restart("nova-compute")
    try:
        without, asked = (
            {each["volume_id"]: each for each in Dedangle(stage.cloud)(*options, *plan).findings}
            for options in ((), ("--config-file", str(conf)))
        )
        assert without[volume]["disposition"] == "remove"
        assert host.watched() == {volume: 1}
        assert asked[volume]["disposition"] == "report"
        assert "a client of Ceph has the RBD image open" in asked[volume]["reason"]
        # Not in Ceph.
        assert asked[server.volumes[0]]["disposition"] == "remove"

        host.hypervisor.end(server.id)
        host.wait_watched({})
        gone = {each["volume_id"]: each for each in Dedangle(stage.cloud)("--config-file", str(conf), *plan).findings}
        assert gone[volume]["disposition"] == "remove"
        assert f"Ceph: the RBD image of volume {volume} is open by no client" in gone[volume]["evidence"]
    finally:
        stage.cloud.manager = MANAGER
        stage.cloud.restart("nova-compute")


@pytest.mark.parametrize("door", ["sweep", pytest.param("command", marks=pytest.mark.thorough)])
def test_attachment_of_a_volume_that_the_guest_lacks_is_removed(
    stage: Stage, host: Host, ceph: Cluster, door: str
) -> None:
    server = stage.server(0)
    used, unused = attached(stage, server, "rbd"), stage.user.volume(kind="rbd")
    stage.breaks.attach_unknown(server.id, unused, COMPUTE_HOST)

    done = opened(door, stage, server)

    after = rows.snapshot(stage.cloud.home)
    assert {each["volume_id"] for each in after.attachments_of(server.id)} == {*server.volumes, used}, done.out
    assert after.volumes[unused]["status"] == "available"
    assert host.watched() == {used: 1}


@pytest.mark.parametrize("door", ["sweep", pytest.param("command", marks=pytest.mark.thorough)])
def test_volume_that_the_guest_uses_under_the_serial_of_another_one_is_kept(
    stage: Stage, host: Host, ceph: Cluster, door: str
) -> None:
    # A nova-compute that dies between the swap of the volume and the write of the mapping leaves this: only Cinder
    # has a row that connects the server with the new volume.
    server = stage.server(0)
    old, new = attached(stage, server, "rbd"), stage.user.volume(kind="rbd")
    stage.breaks.attach_unknown(server.id, new, COMPUTE_HOST)
    host.hypervisor.pivot(server.id, old, f"{POOL}/volume-{new}", stage.cloud.home.path)
    assert host.hypervisor.volumes(server.id) == [*server.volumes, old]
    assert host.hypervisor.sources(server.id)[old] == f"{POOL}/volume-{new}"
    host.wait_watched({new: 1})
    before = rows.snapshot(stage.cloud.home)
    assert {each["volume_id"] for each in before.mappings_of(server.id)} == {*server.volumes, old}

    done = opened(door, stage, server)

    assert done.code == 0, done.err
    assert rows.diff(before, rows.snapshot(stage.cloud.home)) == [], done.out
    assert host.hypervisor.sources(server.id)[old] == f"{POOL}/volume-{new}"
    assert host.watched() == {new: 1}


def test_volume_that_cinder_forgot_is_attached_again_while_the_guest_writes(bed: Bed, stage: Stage, host: Host) -> None:
    # Its attachments also prove that the credentials see all projects.
    stage.server(0)
    server = stage.server(0)
    volumes = {kind: attached(stage, server, kind) for kind in bed.types}
    for volume in volumes.values():
        forget(stage, server, volume)
    rows.settle(stage.cloud.home)
    found = Dedangle(stage.cloud)("audit", "--server", server.id, "-f", "json").findings
    assert {each["code"] for each in found} == {"attachment-lost-in-use"}
    assert {tuple(each["next"]) for each in found} == {(f"dedangle cleanup {server.id} --reattach --execute",)}
    sources = host.hypervisor.sources(server.id)

    with host.hypervisor.writing(server.id, list(volumes.values())) as written:
        done = Dedangle(stage.cloud)("cleanup", server.id, "--reattach", "--execute", "--yes", "-f", "json")
        assert [each["outcome"] for each in done.findings] == ["restored"] * len(volumes), done
        so_far = len(written)
        wait_for("the guest writes on", lambda: len(written) > so_far + len(volumes))

    assert set(written) == set(volumes.values())
    assert host.hypervisor.writes(server.id) == ["wrote 512/512 bytes"] * len(written)
    assert host.hypervisor.errors(server.id) == ""
    assert host.hypervisor.sources(server.id) == sources
    after = rows.snapshot(stage.cloud.home)
    assert {str(each["id"]) for each in after.attachments_of(server.id)} == {
        str(each["attachment_id"]) for each in after.mappings_of(server.id)
    }
    for volume in volumes.values():
        assert after.volumes[volume]["status"] == "in-use"
        stage.user.detach(server.id, volume)
    assert set(host.hypervisor.volumes(server.id)) == set(server.volumes)


def forget(stage: Stage, server: Server, volume: str) -> None:
    """Let Cinder's database be as it was before the volume was attached, as after its restore."""
    stage.edit_attachment(stage.attachment(server, volume), deleted=True, attach_status="detached")
    stage.edit_volume(volume, status="available", attach_status="detached")


def test_ghost_is_found_by_its_host_and_ends_with_a_hard_reboot(stage: Stage, host: Host, ceph: Cluster) -> None:
    healthy, server = stage.server(0), stage.server(0)
    attached(stage, healthy, "rbd")
    volume = ghost(stage, server, "rbd")
    blind = Dedangle(stage.cloud)("audit", "-f", "json")
    assert [each for each in blind.findings if each["volume_id"] == volume] == []

    done = Dedangle(stage.cloud)("audit", "--hosts", "-f", "json")

    (found,) = [each for each in done.findings if each["code"] == "disk-without-mapping"]
    assert (found["server_id"], found["volume_id"], found["host"]) == (server.id, volume, COMPUTE_HOST)
    assert found["reason"].startswith("URGENT: ")
    assert found["next"] == [f"openstack server reboot --hard --wait {server.id}"]
    side = {"host": COMPUTE_HOST, "domain": "running", "target": "vdb", "source_kind": "network rbd", "wwn": ""}
    assert found["host_side"] == [{**side, "source": f"{POOL}/volume-{volume}"}]
    assert host.watched()[volume] == 1

    stage.user.reboot(server.id, "HARD")

    assert host.hypervisor.volumes(server.id) == list(server.volumes)
    again = Dedangle(stage.cloud)("audit", "--hosts", "-f", "json").findings
    assert [each for each in again if each["code"] == "disk-without-mapping"] == []


@pytest.fixture(scope="module")
def other(bed: Bed, cloud: Cloud) -> Iterator[Hypervisor]:
    """Another compute host, with a libvirt and mounts of its own."""
    pass_mounts_on(bed.home / "other-mounts")
    with libvirtd(bed.home / OTHER) as hypervisor:
        own = {"connection_uri": hypervisor.uri, "nfs_mount_point_base": bed.home / "other-mounts"}
        cloud.add_host(OTHER, {"libvirt": own})
        yield hypervisor
        cloud.stop(OTHER)


def take(cloud: Cloud, *, enabled: str) -> None:
    """Let the scheduler take one of the hosts alone."""
    for service in cloud.admin.nova("GET", "/os-services?binary=nova-compute", expect=200).body["services"]:
        status = {"status": "enabled" if service["host"] == enabled else "disabled"}
        cloud.admin.nova("PUT", f"/os-services/{service['id']}", status, expect=200)


def node(cloud: Cloud, server: Server) -> str:
    shown = cloud.admin.nova("GET", f"/servers/{server.id}", expect=200).body["server"]
    return str(shown["OS-EXT-SRV-ATTR:hypervisor_hostname"])


def test_host_that_the_server_has_left_disconnects_for_the_host_that_has_it(
    bed: Bed, stage: Stage, host: Host, other: Hypervisor, impatient: tuple[str, str]
) -> None:
    healthy = stage.server(0)
    take(stage.cloud, enabled=OTHER)
    server = stage.server(0)
    volume = attached(stage, server, "nfs")
    take(stage.cloud, enabled=COMPUTE_HOST)
    assert len(mounts(bed.home / "other-mounts")) == 1
    # As a detach leaves it that failed in Cinder, and a migration that disconnected nothing on the host before.
    other.end(server.id)
    (key,) = stage.mapping_keys(server.id, [volume])
    stage.edit_mapping(server, volume, deleted=int(key.split("/")[1]))
    there = {"host": COMPUTE_HOST, "node": node(stage.cloud, healthy)}
    stage.edit_server(server, **there, vm_state="stopped", power_state=4)
    rows.settle(stage.cloud.home)
    before = rows.snapshot(stage.cloud.home)
    command = ("cleanup", server.id, "--volume", volume, "--execute", "--yes", "-f", "json")

    stage.cloud.stop(OTHER)
    (kept,) = Dedangle(stage.cloud)(*command, *impatient).findings
    stage.cloud.start(OTHER)

    assert (kept["code"], kept["outcome"]) == ("attachment-released-by-nova", None)
    assert f"connected through host {OTHER}" in kept["reason"]
    assert kept["next"][0].startswith(
        f"ssh {OTHER} 'virsh -c qemu:///system list && ! virsh -c qemu:///system dominfo {server.id}' && "
    )
    assert rows.diff(before, rows.snapshot(stage.cloud.home)) == []
    assert len(mounts(bed.home / "other-mounts")) == 1

    (gone,) = Dedangle(stage.cloud)(*command).findings

    assert (gone["outcome"], gone["outcome_detail"]) == ("removed", None)
    assert mounts(bed.home / "other-mounts") == []
    after = rows.snapshot(stage.cloud.home)
    assert {each["volume_id"] for each in after.attachments_of(server.id)} == set(server.volumes)
    assert after.volumes[volume]["status"] == "available"


def test_share_that_no_guest_uses_is_found_and_unmounted_as_the_finding_says(stage: Stage, host: Host) -> None:
    server = stage.server(0)
    ghost(stage, server, "nfs")
    # The new domain lacks the disk, and Nova does not disconnect what it does not map.
    stage.user.reboot(server.id, "HARD")
    (share,) = host.shares()

    found = unused(stage)

    assert [(each["host"], each["host_side"][0]["source_kind"]) for each in found] == [(COMPUTE_HOST, "mount")]
    assert found[0]["next"] == [f"ssh {COMPUTE_HOST} umount {share}"]
    used = attached(stage, stage.server(0), "nfs")
    assert unused(stage) == [], f"volume {used} is on the share"
    for each in stage.user.user.nova("GET", "/servers", expect=200).body["servers"]:
        stage.user.delete(each["id"])
    (found_again,) = unused(stage)
    run(*found_again["next"][0].split()[2:])
    assert host.shares() == []
    # Nova counts the users of a share, and this one has a user that it will never hear of again.
    stage.cloud.restart("nova-compute")


def unused(stage: Stage) -> list[dict[str, Any]]:
    found = Dedangle(stage.cloud)("audit", "--hosts", "-f", "json").findings
    return [each for each in found if each["code"] == "connection-unused"]
