# SPDX-License-Identifier: Apache-2.0
"""What the host answers to the command and the sweep, and what it removes for them under the instance lock."""

from typing import Any

import pytest
from nova import context as nova_context
from nova import objects

from cloud import HOST, Cloud, Server
from dedangle.compute.endpoint import Endpoint

REMOVES = ("mapping-without-attachment", "remove-mapping")


def endpoint(cloud: Cloud) -> Endpoint:
    (ours,) = [each for each in cloud.computes[HOST].manager.additional_endpoints if isinstance(each, Endpoint)]
    return ours


def remove(cloud: Cloud, server: Server, volume: str, attachment: str) -> dict[str, str]:
    identity = [*REMOVES, server.id, volume, attachment, cloud.bdm(server, volume).uuid]
    allowed = {"no_host": False, "allow_root": False, "available_means_gone": False}
    return endpoint(cloud).carry_out(nova_context.get_admin_context(), server.id, identity, "command", allowed)


def take_from_guest(cloud: Cloud, server: Server, volume: str) -> None:
    """Take the disk out of the guest and nothing else, as an administrator does with virsh."""
    instance = objects.Instance.get_by_uuid(nova_context.get_admin_context(), server.id)
    connection_info = {"driver_volume_type": "local", "data": {"volume_id": volume}, "serial": volume}
    device = cloud.bdm(server, volume).device_name
    cloud.driver.detach_volume(nova_context.get_admin_context(), connection_info, instance, device, encryption={})
    cloud.forget_calls()


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
    context = nova_context.get_admin_context()
    assert endpoint(cloud).disks(context, server.id) == {"disks": sorted(server.volumes), "why": ""}
    outcome = remove(cloud, server, volume, attachment)
    assert outcome["result"] == "changed-meanwhile"
    assert "The server is ACTIVE" in outcome["detail"]
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


def test_a_server_of_another_host_is_left_to_that(cloud: Cloud, lost: Any) -> None:
    server, volume, attachment = lost
    instance = objects.Instance.get_by_uuid(nova_context.get_admin_context(), server.id)
    instance.host = "elsewhere"
    instance.save()
    outcome = remove(cloud, server, volume, attachment)
    assert outcome == {"result": "changed-meanwhile", "detail": "the server is on host elsewhere"}
    assert cloud.mapped(server) == set(server.volumes)
