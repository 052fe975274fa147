# SPDX-License-Identifier: Apache-2.0
"""What a reboot removes, keeps and asks, on hosts of every release."""

import json
from unittest import mock

import fixtures
import pytest

from cloud import HOST, Cloud, Disconnected, Server

REBOOTED = {"compute_reboot_instance": "Success"}
CLEANED = {**REBOOTED, "compute_remove_dangling": "Success"}


@pytest.mark.parametrize("kind", ["HARD", "SOFT"])
def test_healthy_server_costs_one_question(cloud: Cloud, kind: str) -> None:
    for server in (cloud.server(1), cloud.server(3)):
        before = cloud.attachments(server)
        domain = cloud.domain(server.id)
        assert cloud.reboot(server, kind) == REBOOTED
        assert cloud.rest.calls == [f"GET attachments?instance_id={server.id}"]
        assert cloud.in_guest(server) == cloud.mapped(server) == set(server.volumes)
        assert cloud.attachments(server) == before
        assert (cloud.domain(server.id) is domain) == (kind == "SOFT")
    assert not cloud.journal()


def test_server_without_volumes_is_rebooted(cloud: Cloud) -> None:
    server = cloud.server(0)
    assert cloud.reboot(server, "HARD") == REBOOTED
    assert set(cloud.rest.calls) == {f"GET attachments?instance_id={server.id}"}


@pytest.mark.parametrize("kind", ["HARD", "SOFT"])
def test_each_that_dangles_costs_three_questions_while_the_guest_is_on(cloud: Cloud, kind: str) -> None:
    other = cloud.server(1)
    server = cloud.server(5)
    lost, kept = server.volumes[:3], server.volumes[3:]
    for volume in lost:
        cloud.lose_attachment(volume)
    asked_by_then: list[int] = []
    power_off = cloud.driver.power_off

    def counted(*args: object, **kwargs: object) -> None:
        asked_by_then.append(len(cloud.rest.calls))
        power_off(*args, **kwargs)

    with mock.patch.object(cloud.driver, "power_off", counted):
        assert cloud.reboot(server, kind) == CLEANED
    assert cloud.mapped(server) == set(kept)
    control_read = f"GET attachments?volume_id={other.volumes[0]}"
    calls = [each for each in cloud.rest.calls if each != control_read]
    assert len(calls) == 2 + 3 * len(lost)
    assert len(cloud.rest.calls) - len(calls) == 1
    assert asked_by_then[0] == len(cloud.rest.calls)


@pytest.mark.parametrize("volume_is", ["there", "missing"])
@pytest.mark.parametrize("kind", ["HARD", "SOFT"])
def test_mapping_whose_attachment_is_lost(cloud: Cloud, kind: str, volume_is: str) -> None:
    server = cloud.server(3)
    lost, *kept = server.volumes
    bdm = cloud.bdm(server, lost)
    before = cloud.attachments(server)
    cloud.lose_attachment(lost)
    if volume_is == "missing":
        cloud.rest.missing.add(lost)
    domain = cloud.domain(server.id)

    assert cloud.reboot(server, kind) == CLEANED

    assert cloud.domain(server.id) is not domain
    assert cloud.in_guest(server) == cloud.mapped(server) == set(kept)
    assert cloud.soft_deleted(server) == {lost}
    assert cloud.attachments(server) == before - {bdm.attachment_id}
    assert cloud.shutdowns == ([server.id] if kind == "SOFT" else [])
    assert cloud.disconnected[lost] == [Disconnected(mapped=True, running=False)]
    begin, intent, outcome = cloud.journal()
    assert (begin["phase"], begin["server_id"], begin["door"]) == ("begin", server.id, "reboot")
    code = {"there": "mapping-without-attachment", "missing": "mapping-of-missing-volume"}[volume_is]
    assert (intent["code"], intent["bdm_uuid"], intent["row"]["attachment_id"]) == (code, bdm.uuid, bdm.attachment_id)
    assert (bool(intent["server_name"]), intent["vm_state"]) == (True, "active")
    assert (outcome["entry"], outcome["outcome"]) == (intent["entry"], "removed")
    assert (
        f"Removing stale volume attachment {bdm.attachment_id} of volume {lost} from instance {server.id}" in cloud.log
    )

    assert cloud.reboot(server, kind) == REBOOTED
    assert cloud.rest.calls == [f"GET attachments?instance_id={server.id}"]
    assert cloud.in_guest(server) == cloud.mapped(server) == set(kept)


def test_deferred_soft_reboot_leaves_all_for_a_hard_one(cloud: Cloud) -> None:
    cloud.flags(group="dedangle", soft_reboot="defer")
    server = cloud.server(2)
    lost, kept = server.volumes
    cloud.lose_attachment(lost)
    assert cloud.reboot(server, "SOFT") == REBOOTED
    assert cloud.in_guest(server) == cloud.mapped(server) == {lost, kept}
    assert lost not in cloud.disconnected
    assert not cloud.journal()
    assert cloud.log.count("remain until a hard reboot") == 1
    assert cloud.reboot(server, "HARD") == CLEANED
    assert cloud.in_guest(server) == cloud.mapped(server) == {kept}


@pytest.mark.parametrize("kind", ["HARD", "SOFT"])
def test_mapping_that_was_never_attached(cloud: Cloud, kind: str) -> None:
    server = cloud.server(1)
    never = cloud.map_without_attachment(server)
    domain = cloud.domain(server.id)
    assert cloud.reboot(server, kind) == CLEANED
    assert cloud.in_guest(server) == cloud.mapped(server) == set(server.volumes)
    assert cloud.soft_deleted(server) == {never}
    # There is no disk to take away, so a soft reboot stays one.
    assert (cloud.domain(server.id) is domain) == (kind == "SOFT")
    assert never not in cloud.disconnected


def test_reserved_attachment_that_nova_never_knew(cloud: Cloud) -> None:
    server = cloud.server(1)
    before = cloud.attachments(server)
    stale = {cloud.attach_behind_nova(server, each, None) for each in (*server.volumes, cloud.volume())}
    assert cloud.reboot(server, "SOFT") == CLEANED
    assert cloud.attachments(server) == before
    assert {each.split("/")[1] for each in cloud.rest.calls if each.startswith("DELETE")} == stale
    assert cloud.in_guest(server) == cloud.mapped(server) == set(server.volumes)


@pytest.mark.parametrize("kind", ["HARD", "SOFT"])
def test_number_10_attachment_that_nova_has_released_goes_with_the_guest_that_had_its_disk(
    cloud: Cloud, kind: str
) -> None:
    server = cloud.server(2)
    released, kept = server.volumes
    before = cloud.attachments(server)
    bdm = cloud.bdm(server, released)
    attachment = bdm.attachment_id
    bdm.destroy()
    # A soft reboot becomes a hard one: the guest that had the disk is off, and the new domain is without it.
    assert cloud.reboot(server, kind) == CLEANED
    assert cloud.disconnected[released] == [Disconnected(mapped=False, running=False)]
    assert cloud.attachments(server) == before - {attachment}
    assert cloud.in_guest(server) == cloud.mapped(server) == {kept}


@pytest.mark.parametrize("host", [HOST, "another"])
def test_attachment_unknown_to_nova_goes_by_the_word_of_its_host(cloud: Cloud, host: str) -> None:
    server = cloud.server(1)
    before = cloud.attachments(server)
    unknown = cloud.attach_behind_nova(server, cloud.volume(), host)
    assert cloud.reboot(server, "HARD") == (CLEANED if host == HOST else REBOOTED)
    assert cloud.attachments(server) == (before if host == HOST else before | {unknown})


def test_second_attachment_on_another_host_is_kept(cloud: Cloud) -> None:
    server = cloud.server(1)
    cloud.attach_behind_nova(server, server.volumes[0], "another")
    before = cloud.attachments(server)
    assert cloud.reboot(server, "HARD") == REBOOTED
    assert cloud.attachments(server) == before
    assert cloud.in_guest(server) == cloud.mapped(server) == set(server.volumes)


def test_root_disk_is_protected(cloud: Cloud) -> None:
    server = cloud.server_from_volume()
    (root,) = server.volumes
    data = cloud.attach(server)
    cloud.lose_attachment(root)
    assert cloud.reboot(server, "HARD") == REBOOTED
    assert cloud.mapped(server) == {root, data}


def test_number_5_server_that_lost_its_root_disk_too_keeps_what_it_has(cloud: Cloud) -> None:
    """A rollback deleted what the source host uses (LP 1889108): Cinder is the wrong side."""
    server = cloud.server_from_volume()
    data = cloud.attach(server)
    cloud.server(1)  # in whose attachment is the proof that Cinder shows any
    for volume in list(server.volumes):
        cloud.lose_attachment(volume)
    assert cloud.reboot(server, "HARD") == REBOOTED
    assert cloud.mapped(server) == set(server.volumes)
    assert data in server.volumes


def test_only_volume_goes_by_the_proof_of_another_server(cloud: Cloud) -> None:
    server = cloud.server(1)
    (lost,) = server.volumes
    cloud.lose_attachment(lost)
    assert cloud.reboot(server, "HARD") == REBOOTED
    assert cloud.in_guest(server) == cloud.mapped(server) == {lost}
    cloud.server(1)
    assert cloud.reboot(server, "HARD") == CLEANED
    assert cloud.in_guest(server) == cloud.mapped(server) == set()


def test_credentials_that_see_one_project_remove_nothing(cloud: Cloud) -> None:
    server, other = _lost_of_two(cloud), cloud.server(1)
    cloud.rest.sees_all_projects = False
    assert cloud.reboot(server, "HARD") == REBOOTED
    assert cloud.in_guest(server) == cloud.mapped(server) == set(server.volumes)
    assert "may not see every project" in cloud.log
    cloud.rest.sees_all_projects = True
    assert cloud.reboot(server, "HARD") == CLEANED
    assert cloud.mapped(other) == set(other.volumes)


def test_no_credentials_remove_nothing(cloud: Cloud) -> None:
    server = _lost_of_two(cloud)
    cloud.flags(group="dedangle", auth_type=None)
    assert cloud.reboot(server, "HARD") == REBOOTED
    assert cloud.in_guest(server) == cloud.mapped(server) == set(server.volumes)


def test_small_pages(cloud: Cloud) -> None:
    cloud.rest.page = 1
    server = cloud.server(3)
    lost, *kept = server.volumes
    cloud.lose_attachment(lost)
    assert cloud.reboot(server, "HARD") == CLEANED
    assert cloud.in_guest(server) == cloud.mapped(server) == set(kept)


def test_secret_of_an_encrypted_volume_goes_with_it(cloud: Cloud) -> None:
    server = _lost_of_two(cloud)
    lost, kept = server.volumes
    _encrypt(cloud, server, lost)
    host = cloud.driver._host
    find = fixtures.MockPatchObject(host, "find_secret", lambda usage, ident: ident == lost)
    delete = cloud.useFixture(fixtures.MockPatchObject(host, "delete_secret")).mock
    cloud.useFixture(find)
    assert cloud.reboot(server, "HARD") == CLEANED
    delete.assert_called_once_with("volume", lost)
    assert cloud.in_guest(server) == cloud.mapped(server) == {kept}


def test_encrypted_device_on_the_host_is_closed(cloud: Cloud) -> None:
    server = _lost_of_two(cloud)
    lost, kept = server.volumes
    _encrypt(cloud, server, lost)
    metadata = {"provider": "luks", "encryption_key_id": "a-key", "cipher": "aes-xts-plain64"}
    cloud.rest.encryption[lost] = metadata
    cloud.useFixture(fixtures.MockPatchObject(cloud.driver._host, "find_secret", lambda usage, ident: None))
    encryptor = mock.Mock()
    cloud.useFixture(fixtures.MockPatchObject(cloud.driver, "_get_volume_encryptor", lambda *_: encryptor))
    assert cloud.reboot(server, "HARD") == CLEANED
    encryptor.detach_volume.assert_called_once_with(**metadata)
    assert cloud.in_guest(server) == cloud.mapped(server) == {kept}


def _lost_of_two(cloud: Cloud) -> Server:
    server = cloud.server(2)
    cloud.lose_attachment(server.volumes[0])
    return server


def _encrypt(cloud: Cloud, server: Server, volume: str) -> None:
    bdm = cloud.bdm(server, volume)
    connection = json.loads(bdm.connection_info)
    connection["data"]["encrypted"] = True
    bdm.connection_info = json.dumps(connection)
    bdm.save()
