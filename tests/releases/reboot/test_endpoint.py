# SPDX-License-Identifier: Apache-2.0
"""What the host answers to the command and the sweep, and what it removes for them under the instance lock."""

import dataclasses
import time
from typing import Any

import pytest
from nova import context as nova_context
from nova import objects

from cloud import HOST, Cloud, Server, device_of
from dedangle.compute.endpoint import Endpoint
from dedangle.core.decisions import Identity
from dedangle.core.records import Disk

REMOVES = ("mapping-without-attachment", "remove-mapping")


def endpoint(cloud: Cloud) -> Endpoint:
    (ours,) = [each for each in cloud.computes[HOST].manager.additional_endpoints if isinstance(each, Endpoint)]
    return ours


def remove(cloud: Cloud, server: Server, volume: str, attachment: str, *, wait: float = 60) -> dict[str, str]:
    identity = Identity(*REMOVES, server.id, volume, attachment, cloud.bdm(server, volume).uuid)._asdict()
    allowed = {"no_host": False, "allow_root": False, "available_means_gone": False}
    cloud.settle()
    deadline = time.time() + wait
    return endpoint(cloud).carry_out(
        nova_context.get_admin_context(), server.id, identity, "command", allowed, deadline
    )


def take_from_guest(cloud: Cloud, server: Server, volume: str) -> None:
    """Take the disk out of the guest and nothing else, as an administrator does with virsh."""
    instance = objects.Instance.get_by_uuid(nova_context.get_admin_context(), server.id)
    connection_info = {"driver_volume_type": "local", "data": {"volume_id": volume}, "serial": volume}
    device = cloud.bdm(server, volume).device_name
    cloud.driver.detach_volume(nova_context.get_admin_context(), connection_info, instance, device, encryption={})
    cloud.forget_calls()


def disks(cloud: Cloud, server: Server) -> list[Disk]:
    answer = endpoint(cloud).disks(nova_context.get_admin_context(), server.id)
    assert answer["why"] == ""
    return [Disk(**each) for each in answer["disks"]]


def running(volume: str, source: str = "", *, is_recognised: bool = True) -> Disk:
    source = source or device_of(volume)
    return Disk(volume_id=volume, source=source, is_running=True, is_recognised=is_recognised)


@pytest.fixture
def lost(cloud: Cloud) -> tuple[Server, str, str]:
    """A running server that has lost the attachment of its last volume."""
    server = cloud.server(2)
    volume = server.volumes[-1]
    attachment = cloud.bdm(server, volume).attachment_id
    cloud.lose_attachment(volume)
    return server, volume, attachment


def test_a_disk_that_the_guest_has_is_not_taken_from_under_it(cloud: Cloud, lost: Any) -> None:
    server, volume, attachment = lost
    assert disks(cloud, server) == [running(each) for each in sorted(server.volumes)]
    outcome = remove(cloud, server, volume, attachment)
    assert outcome["result"] == "changed-meanwhile"
    assert "The volume is in use, but Cinder does not have this attachment." in outcome["detail"]
    assert cloud.mapped(server) == cloud.in_guest(server) == set(server.volumes)
    assert cloud.disconnected == {}


def test_a_mapping_goes_under_a_guest_without_its_disk_and_another_disk_of_its_name_stays(
    cloud: Cloud, lost: Any
) -> None:
    server, volume, attachment = lost
    take_from_guest(cloud, server, volume)
    bdm = cloud.bdm(server, volume)
    bdm.device_name = cloud.bdm(server, server.volumes[0]).device_name
    bdm.save()
    assert cloud.in_guest(server) == {server.volumes[0]}

    outcome = remove(cloud, server, volume, attachment)

    assert outcome == {"result": "removed", "detail": ""}
    assert cloud.mapped(server) == cloud.in_guest(server) == {server.volumes[0]}
    assert cloud.soft_deleted(server) == {volume}
    assert [each.mapped for each in cloud.disconnected[volume]] == [True]
    assert [each["phase"] for each in cloud.journal()] == ["intent", "outcome"]


def test_number_3_a_message_whose_sender_has_given_up_changes_nothing(cloud: Cloud, lost: Any) -> None:
    server, volume, attachment = lost
    take_from_guest(cloud, server, volume)
    late = remove(cloud, server, volume, attachment, wait=-1)
    assert late["result"] == "changed-meanwhile"
    assert "the caller no longer waits" in late["detail"]
    assert cloud.mapped(server) == set(server.volumes)
    assert remove(cloud, server, volume, attachment)["result"] == "removed"


def test_a_server_of_another_host_is_left_to_that(cloud: Cloud, lost: Any) -> None:
    server, volume, attachment = lost
    instance = objects.Instance.get_by_uuid(nova_context.get_admin_context(), server.id)
    instance.host = "elsewhere"
    instance.save()
    outcome = remove(cloud, server, volume, attachment)
    assert outcome == {"result": "changed-meanwhile", "detail": "the server is on host elsewhere"}
    assert cloud.mapped(server) == set(server.volumes)


def test_a_guest_that_is_off_has_its_disks_for_the_next_start(cloud: Cloud) -> None:
    server = cloud.server(1)
    cloud.domain(server.id).destroy()
    assert disks(cloud, server) == [dataclasses.replace(running(server.volumes[0]), is_running=False)]


def test_a_soft_deleted_mapping_recognises_its_disk(cloud: Cloud) -> None:
    server = cloud.server(1)
    cloud.bdm(server, server.volumes[0]).destroy()
    assert disks(cloud, server) == [running(server.volumes[0])]


@pytest.mark.parametrize("how", ["deleted", "archived", "purged"])
def test_a_guest_that_outlives_its_server_is_found(cloud: Cloud, how: str) -> None:
    server = cloud.server(1)
    cloud.forget(server, how)
    # Without mappings the volume of a disk is unknown.
    assert disks(cloud, server) == [running(server.volumes[0], is_recognised=how == "deleted")]


def test_no_guest_has_no_disks(cloud: Cloud) -> None:
    server = cloud.server(1)
    cloud.domain(server.id).undefine()
    assert disks(cloud, server) == []


def test_what_is_behind_a_disk_counts_and_not_its_serial_alone(cloud: Cloud) -> None:
    server = cloud.server(2)
    swapped, other = server.volumes
    cloud.put_behind(server, swapped, "/dev/of-no-mapping")
    assert set(disks(cloud, server)) == {
        running(swapped, "/dev/of-no-mapping", is_recognised=False),
        running(other),
    }


def test_a_disk_is_of_the_volume_that_is_connected_there_too(cloud: Cloud) -> None:
    server = cloud.server(1)
    new, old = server.volumes[0], cloud.volume()
    (disk,) = [each for each in cloud.domain(server.id)._def["devices"]["disks"] if each["serial"] == new]
    disk["serial"] = old
    assert set(disks(cloud, server)) == {running(old, device_of(new), is_recognised=False), running(new)}


def test_a_mapping_without_a_path_recognises_nothing(cloud: Cloud) -> None:
    server = cloud.server(1)
    bdm = cloud.bdm(server, server.volumes[0])
    bdm.connection_info = None
    bdm.save()
    assert disks(cloud, server) == [running(server.volumes[0], is_recognised=False)]


def test_the_answer_holds_no_secret(cloud: Cloud) -> None:
    server = cloud.server(0)
    cloud.attach(server, cloud.volume(auth_password="s3cret"))
    assert "s3cret" in cloud.bdm(server, server.volumes[0]).connection_info
    assert "s3cret" not in str(endpoint(cloud).disks(nova_context.get_admin_context(), server.id))
