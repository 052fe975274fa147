# SPDX-License-Identifier: Apache-2.0
"""A volume whose attachment Cinder has lost is attached again, and nothing else changes."""

import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from cases.stage import Stage
from cases.test_undo import SECRET, connector_of
from dedangle.lab import rows
from dedangle.lab.builders import Server
from dedangle.lab.cloud import Cloud
from dedangle.lab.config import COMPUTE_HOST
from shell import Dedangle, Done


@pytest.fixture(scope="module")
def connector(tmp_path_factory: pytest.TempPathFactory) -> str:
    return connector_of(COMPUTE_HOST, tmp_path_factory.mktemp("connector"))


def reattach(dedangle: Dedangle, server: Server, *options: str) -> Done:
    done = dedangle("cleanup", server.id, "--reattach", "--execute", "--yes", "-f", "json", *options)
    assert SECRET not in done.out + done.err
    return done


def outcomes(done: Done) -> list[tuple[str, str | None]]:
    return sorted((each["remedy"], each["outcome"]) for each in done.findings)


def is_whole(after: rows.Snapshot, server: Server) -> bool:
    """Whether each mapping names an attachment of its volume, and each attachment is named."""
    mapped = {(str(each["attachment_id"]), str(each["volume_id"])) for each in after.mappings_of(server.id)}
    held = {(str(each["id"]), str(each["volume_id"])) for each in after.attachments_of(server.id)}
    return mapped == held and len(mapped) == len(server.volumes)


def statuses(after: rows.Snapshot, server: Server) -> set[tuple[str, str]]:
    attached = {str(each["attach_status"]) for each in after.attachments_of(server.id)}
    return {(status, str(after.volumes[volume]["status"])) for status in attached for volume in server.volumes}


def test_a_stopped_server_gets_its_volume_back(cloud: Cloud, dedangle: Dedangle, connector: str) -> None:
    stage = Stage(cloud)
    server = stage.server()
    stage.user.stop(server.id)
    stage.breaks.lose_attachment(server.id, server.volumes[1])
    before = rows.snapshot(cloud.home)
    (found,) = dedangle("cleanup", server.id, "-f", "json").findings
    assert "--reattach" in found["reason"]

    refused = reattach(dedangle, server)
    assert [(each["remedy"], each["disposition"]) for each in refused.findings] == [("restore-attachment", "report")]
    assert "--connector" in refused.findings[0]["reason"]
    planned = dedangle("cleanup", server.id, "--reattach", "--connector", connector, "-f", "json")
    assert [each["disposition"] for each in planned.findings] == ["restore"]
    assert not rows.diff(before, rows.snapshot(cloud.home))

    assert outcomes(reattach(dedangle, server, "--connector", connector)) == [("restore-attachment", "restored")]
    once = rows.snapshot(cloud.home)
    assert is_whole(once, server)
    assert statuses(once, server) == {("attached", "in-use")}
    assert {each.table for each in rows.diff(before, once)} == {"mappings", "attachments", "volumes"}
    assert outcomes(reattach(dedangle, server, "--connector", connector)) == []
    assert not rows.diff(once, rows.snapshot(cloud.home))

    stage.user.start(server.id)
    stage.user.reboot(server.id)
    stage.user.detach(server.id, server.volumes[1])


def test_where_cinder_is_the_wrong_side_a_running_server_keeps_running(
    cloud: Cloud, dedangle: Dedangle, connector: str
) -> None:
    stage = Stage(cloud)
    server = stage.server(volumes=2)
    for volume in server.volumes:
        stage.breaks.lose_attachment(server.id, volume)
    before = rows.snapshot(cloud.home)
    found = dedangle("audit", "--server", server.id, "-f", "json").findings
    assert {each["code"] for each in found} == {"attachment-lost-in-use"}
    assert all("--reattach" in each["next"][-1] for each in found)

    done = reattach(dedangle, server, "--connector", connector)
    assert outcomes(done) == [("restore-attachment", "restored")] * 3
    once = rows.snapshot(cloud.home)
    assert is_whole(once, server)
    assert {each.table for each in rows.diff(before, once)} == {"mappings", "attachments", "volumes"}
    assert dedangle("audit", "--server", server.id, "--all", "-f", "json").findings == []
    stage.user.reboot(server.id)
    assert is_whole(rows.snapshot(cloud.home), server)


def test_another_address_is_given_to_a_stopped_server_alone(cloud: Cloud, dedangle: Dedangle, connector: str) -> None:
    stage = Stage(cloud)
    server = stage.server(volumes=2)
    for volume in server.volumes:
        stage.breaks.lose_attachment(server.id, volume)
    elsewhere = '{"driver_volume_type": "iscsi", "data": {"target_iqn": "iqn.2010-10.org:old", "target_lun": 1}}'
    stage.edit_mapping(server, server.volumes[1], connection_info=elsewhere)
    before = rows.snapshot(cloud.home)

    done = reattach(dedangle, server, "--connector", connector, "--volume", server.volumes[1])
    assert done.code == 5
    assert outcomes(done) == [("restore-attachment", "refused")]
    assert "another address" in done.err + done.out
    once = rows.snapshot(cloud.home)
    assert before.mappings == once.mappings
    assert before.attachments_of(server.id) == once.attachments_of(server.id)
    assert once.volumes[server.volumes[1]]["status"] == "available"

    how = ("--restart", "--connector", connector, "--volume", server.volumes[1])
    assert outcomes(reattach(dedangle, server, *how)) == [("restore-attachment", "restored")]
    assert stage.user.status(server.id) == "ACTIVE"
    assert outcomes(reattach(dedangle, server, "--connector", connector)) == [("restore-attachment", "restored")] * 2
    assert is_whole(rows.snapshot(cloud.home), server)


def test_an_offloaded_server_gets_a_reservation_and_unshelves_with_its_disks(cloud: Cloud, dedangle: Dedangle) -> None:
    stage = Stage(cloud)
    server = stage.server()
    stage.user.shelve_offload(server.id)
    for volume in server.volumes:
        stage.breaks.lose_attachment(server.id, volume)
    done = reattach(dedangle, server)
    assert outcomes(done) == [("restore-attachment", "restored")] * 2, done
    once = rows.snapshot(cloud.home)
    assert is_whole(once, server)
    assert statuses(once, server) == {("reserved", "reserved")}
    stage.user.unshelve(server.id)
    assert is_whole(rows.snapshot(cloud.home), server)


def test_a_volume_that_another_server_has_by_now_is_left_to_it(
    cloud: Cloud, dedangle: Dedangle, connector: str
) -> None:
    stage = Stage(cloud)
    server, other = stage.server(), stage.server()
    stage.user.stop(server.id)
    stage.breaks.lose_attachment(server.id, server.volumes[1])
    stage.breaks.attach_unknown(other.id, server.volumes[1], "elsewhere")
    before = rows.snapshot(cloud.home)
    done = reattach(dedangle, server, "--connector", connector)
    assert [each["outcome"] for each in done.findings] == [None]
    assert f"server {other.id} also holds the volume" in done.findings[0]["reason"]
    assert not rows.diff(before, rows.snapshot(cloud.home))


def attach_modes(cloud: Cloud, server: Server) -> dict[str, str]:
    return {each["volume_id"]: each["attach_mode"] for each in rows.snapshot(cloud.home).attachments_of(server.id)}


def test_an_encrypted_a_read_only_and_a_root_disk_come_back_as_they_were(
    cloud: Cloud, dedangle: Dedangle, connector: str
) -> None:
    stage = Stage(cloud)
    server = stage.server(0)
    encrypted, read_only = stage.user.volume(), stage.user.volume()
    # What tells Cinder that the connection must say so; the lab has no key manager.
    stage.edit_volume(encrypted, encryption_key_id="5f4dcc3b-5aa7-465d-8327-deb882cf9901")
    flag = {"os-update_readonly_flag": {"readonly": True}}
    stage.cloud.admin.cinder("POST", f"/volumes/{read_only}/action", flag, expect=202)
    for volume in (encrypted, read_only):
        stage.user.attach(server.id, volume)
    server = Server(server.id, (*server.volumes, encrypted, read_only))
    modes = attach_modes(cloud, server)
    stage.user.stop(server.id)
    for volume in server.volumes:
        stage.breaks.lose_attachment(server.id, volume)

    done = reattach(dedangle, server, "--connector", connector)

    assert outcomes(done) == [("restore-attachment", "restored")] * 3, done
    after = rows.snapshot(cloud.home)
    assert is_whole(after, server)
    assert attach_modes(cloud, server) == modes
    with cloud.home.connect("nova_cell1") as nova:
        query = "SELECT volume_id, connection_info FROM block_device_mapping WHERE instance_uuid = :id AND deleted = 0"
        found = {row[0]: json.loads(row[1])["data"] for row in nova.execute(sa.text(query), {"id": server.id})}
    assert [found[volume]["encrypted"] for volume in server.volumes] == [False, True, False]
    assert found[read_only]["access_mode"] == "ro"
    stage.user.start(server.id)


def test_one_server_of_a_multi_attach_volume_gets_it_back_and_the_other_keeps_it(
    cloud: Cloud, dedangle: Dedangle, connector: str
) -> None:
    stage = Stage(cloud)
    server, other, volume = stage.server(0), stage.server(0), stage.multiattach_volume()
    for each in (server, other):
        stage.user.attach(each.id, volume)
    stage.user.stop(server.id)
    stage.breaks.lose_attachment(server.id, volume)
    others = rows.snapshot(cloud.home).attachments_of(other.id)

    assert outcomes(reattach(dedangle, server, "--connector", connector)) == [("restore-attachment", "restored")]

    after = rows.snapshot(cloud.home)
    assert is_whole(after, Server(server.id, (*server.volumes, volume)))
    assert after.attachments_of(other.id) == others
    assert after.volumes[volume]["status"] == "in-use"


def test_a_volume_that_another_server_takes_between_the_plan_and_the_write_is_left_to_it(
    cloud: Cloud, dedangle: Dedangle, connector: str, tmp_path: Path
) -> None:
    stage = Stage(cloud)
    server, other = stage.server(), stage.server(0)
    stage.user.stop(server.id)
    stage.breaks.lose_attachment(server.id, server.volumes[1])
    options = ("--reattach", "--connector", connector, "--execute", "--yes", "-f", "json")

    done = dedangle.cleanup_while(
        tmp_path / "held",
        server.id,
        # Nova itself refuses the attach, because a mapping of the first server names the volume.
        lambda _: stage.breaks.attach_unknown(other.id, server.volumes[1], COMPUTE_HOST),
        *options,
    )

    (finding,) = done.findings
    assert (done.code, finding["outcome"]) == (5, "failed"), done
    after = rows.snapshot(cloud.home)
    assert {each["volume_id"] for each in after.attachments_of(other.id)} == {*other.volumes, server.volumes[1]}
    assert {each["volume_id"] for each in after.attachments_of(server.id)} == {server.volumes[0]}
    assert {each["volume_id"] for each in after.mappings_of(server.id)} == set(server.volumes)


def test_what_a_killed_run_left_is_finished(cloud: Cloud, dedangle: Dedangle, connector: str) -> None:
    stage = Stage(cloud)
    server = stage.server()
    stage.user.stop(server.id)
    stage.breaks.lose_attachment(server.id, server.volumes[1])
    left = stage.breaks.reserve_attachment(server.id, server.volumes[1])
    assert outcomes(reattach(dedangle, server, "--connector", connector))[-1] == ("restore-attachment", "restored")
    after = rows.snapshot(cloud.home)
    assert is_whole(after, server)
    assert left in after.attachments


def test_a_connector_without_reattach_or_of_another_host_changes_nothing(
    cloud: Cloud, dedangle: Dedangle, connector: str, tmp_path: Path
) -> None:
    stage = Stage(cloud)
    server = stage.server()
    stage.user.stop(server.id)
    stage.breaks.lose_attachment(server.id, server.volumes[1])
    before = rows.snapshot(cloud.home)
    alone = dedangle("cleanup", server.id, "--connector", connector, "--execute", "--yes")
    assert (alone.code, alone.err) == (2, "--connector only works with --reattach. Add --reattach.\n")
    other = reattach(dedangle, server, "--connector", connector_of("elsewhere", tmp_path))
    assert [each["outcome"] for each in other.findings] == [None]
    assert not rows.diff(before, rows.snapshot(cloud.home))
