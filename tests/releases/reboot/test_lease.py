# SPDX-License-Identifier: Apache-2.0
"""A volume is disconnected only by an address that is shown to be its own."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from nova import context as nova_context
from nova import objects
from nova.virt.fake import FakeDriver

from cloud import HOST, Cloud, Server, device_of
from dedangle.compute.lease import check
from dedangle.core.records import Refusal

SHARED = {"target_iqn": "iqn.2010-10.org.openstack:target", "target_lun": 1, "auth_password": "s3cret"}
OTHER_LUN = {**SHARED, "target_lun": 2}
WWN = "3600a098038302d492b2b4e2f58743241"


def server(cloud: Cloud, address: dict[str, Any]) -> Server:
    """An active server with a volume at the address."""
    made = cloud.server(0)
    cloud.attach(made, cloud.volume(**address))
    return made


def lease(cloud: Cloud, of: Server, *, context: Any = None) -> Refusal | None:
    """The answer of the host about the address of the server's last volume."""
    bdm = cloud.bdm(of, of.volumes[-1])
    info = json.loads(bdm.connection_info)
    context = context or nova_context.get_admin_context()
    return check(context, cloud.driver, HOST, of.id, bdm.id, info)


def test_number_2_an_address_that_was_given_to_another_server_is_not_disconnected(cloud: Cloud) -> None:
    broken, healthy = server(cloud, SHARED), server(cloud, SHARED)
    lost = broken.volumes[0]
    cloud.lose_attachment(lost)

    cloud.reboot(broken, "HARD")

    assert cloud.mapped(broken) == cloud.in_guest(broken) == set()
    assert cloud.soft_deleted(broken) == {lost}
    assert cloud.disconnected == {}
    assert f"the volume was not disconnected: server {healthy.id} on the host uses the same address" in cloud.log
    assert cloud.in_guest(healthy) == cloud.mapped(healthy) == set(healthy.volumes)


def test_a_volume_of_two_servers_on_one_host_loses_its_mapping_without_a_disconnect(cloud: Cloud) -> None:
    broken, healthy = server(cloud, SHARED), server(cloud, OTHER_LUN)
    lost = broken.volumes[0]
    share(cloud, healthy, lost)
    cloud.attach(healthy)
    del cloud.cinder.volume_to_attachment[lost][cloud.bdm(broken, lost).attachment_id]

    cloud.reboot(broken, "HARD")

    assert cloud.soft_deleted(broken) == {lost}
    assert lost not in cloud.disconnected
    assert lost in cloud.mapped(healthy)


def test_an_attachment_is_kept_where_the_address_is_another_server_s(cloud: Cloud) -> None:
    broken, healthy = server(cloud, SHARED), server(cloud, SHARED)
    before = cloud.attachments(broken)
    cloud.bdm(broken, broken.volumes[0]).destroy()
    for _ in range(3):
        cloud.reboot(broken, "HARD")
    assert cloud.attachments(broken) == before
    assert cloud.disconnected == {}
    assert cloud.in_guest(healthy) == set(healthy.volumes)


def share(cloud: Cloud, other: Server, volume: str) -> None:
    """Let the other server have the multi-attach volume too, by the same connection."""
    bdm = cloud.bdm(other, other.volumes[-1])
    attachments = cloud.cinder.volume_to_attachment
    attachments[volume][bdm.attachment_id] = attachments[bdm.volume_id].pop(bdm.attachment_id)
    cloud.rest.multiattach.add(volume)
    bdm.volume_id = volume
    bdm.connection_info = json.dumps({**cloud.cinder.VOLUME_CONNECTION_INFO[volume], "serial": volume})
    bdm.save()


def test_what_is_its_own_is_disconnected(cloud: Cloud) -> None:
    broken, _ = server(cloud, SHARED), server(cloud, OTHER_LUN)
    assert lease(cloud, broken) is None


def same_device(cloud: Cloud, healthy: Server, mine: str) -> str:
    cloud.put_behind(healthy, healthy.volumes[0], device_of(mine))
    return f"the guest of server {healthy.id} on the host uses the same device"


def deleted_server(cloud: Cloud, healthy: Server, mine: str) -> str:
    cloud.forget(healthy, "purged")
    return same_device(cloud, healthy, mine)


def attaching(cloud: Cloud, healthy: Server, mine: str) -> str:
    bdm = cloud.bdm(healthy, healthy.volumes[0])
    bdm.connection_info = None
    bdm.save()
    return f"server {healthy.id} is attaching volume {healthy.volumes[0]}, whose address is not known yet"


def migrating(cloud: Cloud, healthy: Server, mine: str) -> str:
    node = cloud.driver.get_available_nodes()[0]
    objects.Migration(
        nova_context.get_admin_context(),
        instance_uuid=healthy.id,
        source_compute=HOST,
        source_node=node,
        dest_compute="elsewhere",
        migration_type="live-migration",
        status="preparing",
    ).create()
    return f"server {healthy.id} is migrating to or from the host, and its addresses are not known"


@pytest.mark.parametrize("use", [same_device, deleted_server, attaching, migrating])
def test_who_uses_the_address_is_named(cloud: Cloud, use: Callable[[Cloud, Server, str], str]) -> None:
    broken, healthy = server(cloud, SHARED), server(cloud, OTHER_LUN)
    why = use(cloud, healthy, broken.volumes[0])
    assert lease(cloud, broken) == Refusal(why)


def test_a_device_with_another_wwn_is_not_disconnected(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = server(cloud, SHARED)
    monkeypatch.setattr("dedangle.systems.scsi.other_wwn", lambda *_: WWN)
    why = f"the device at its address now is another volume, with WWN {WWN}"
    assert lease(cloud, broken) == Refusal(why)


@pytest.mark.parametrize(
    "broken_part",
    [
        "nova.objects.InstanceList.get_by_host",
        "nova.objects.BlockDeviceMappingList.get_by_instance_uuids",
        "nova.objects.MigrationList.get_in_progress_by_host_and_node",
        "dedangle.systems.scsi.other_wwn",
        "nova.virt.libvirt.host.Host.list_guests",
    ],
)
def test_what_cannot_be_read_permits_nothing(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, broken_part: str) -> None:
    broken = server(cloud, SHARED)

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("as it was told to, by s3cret")

    monkeypatch.setattr(broken_part, fail)
    refusal = lease(cloud, broken)
    assert refusal is not None
    assert "s3cret" not in refusal.why


def test_servers_are_read_in_chunks(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dedangle.compute.lease._CHUNK", 1)
    broken, _, healthy = server(cloud, SHARED), server(cloud, OTHER_LUN), server(cloud, SHARED)
    assert healthy.id in str(lease(cloud, broken))


def test_the_driver_that_connects_nothing_may_disconnect() -> None:
    assert check(nova_context.get_admin_context(), FakeDriver(None), HOST, "", None, {}) is None
