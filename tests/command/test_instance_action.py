# SPDX-License-Identifier: Apache-2.0
"""The instance action that shows a server's user what was done, and what other runs make of it."""

from typing import Any

import pytest
import sqlalchemy as sa

from cases.stage import Stage
from dedangle.lab.builders import Server
from dedangle.lab.cloud import Cloud
from shell import Dedangle

EXECUTE = ("--no-host", "--execute", "--yes", "-f", "json")


@pytest.fixture
def reserved(stage: Stage) -> Server:
    """A server with an attachment that was never used."""
    server = stage.server(0)
    stage.breaks.reserve_attachment(server.id, stage.user.volume())
    return server


def ours(stage: Stage, server: Server) -> list[dict[str, Any]]:
    path = f"/servers/{server.id}/os-instance-actions"
    listed = stage.user.user.nova("GET", path, expect=200).body["instanceActions"]
    ids = [each["request_id"] for each in listed if each["action"] == "dedangle_cleanup"]
    return [stage.cloud.admin.nova("GET", f"{path}/{each}", expect=200).body["instanceAction"] for each in ids]


def test_a_changed_server_has_one_action_that_names_the_run(dedangle: Dedangle, stage: Stage, reserved: Server) -> None:
    done = dedangle("cleanup", reserved.id, *EXECUTE)
    (action,) = ours(stage, reserved)
    run = action["request_id"].removeprefix("req-dedangle-")
    assert f"Run {run}" in done.err
    assert action["project_id"] == stage.user.user.project_id
    assert action["message"] is None
    (event,) = action["events"]
    assert (event["event"], event["result"]) == ("dedangle_cleanup", "Success")
    assert event["finish_time"]
    assert event["details"] == f"remove-attachment of volume {done.findings[0]['volume_id']}: removed"

    dedangle("cleanup", reserved.id, *EXECUTE)
    assert len(ours(stage, reserved)) == 1


def test_a_plan_is_no_action(dedangle: Dedangle, stage: Stage, reserved: Server) -> None:
    dedangle("cleanup", reserved.id)
    assert ours(stage, reserved) == []


def test_a_refused_removal_is_an_error(cloud: Cloud, dedangle: Dedangle, stage: Stage, reserved: Server) -> None:
    with cloud.faults.inject("cinder", method="DELETE", path=r"/v3/.*attachments/.+", status=409):
        dedangle("cleanup", reserved.id, *EXECUTE)
    (action,) = ours(stage, reserved)
    assert (action["message"], action["events"][0]["result"]) == ("Error", "Error")


def test_a_deleted_servers_action_can_be_listed_too(dedangle: Dedangle, stage: Stage) -> None:
    server = stage.server(1)
    stage.breaks.delete_server_while_cinder_fails(server.id)
    done = dedangle("cleanup", server.id, *EXECUTE)
    assert {"removed"} == {each["outcome"] for each in done.findings}
    (action,) = _rows_of(stage, server)
    assert action["finish_time"]


def test_an_open_action_of_another_run_is_in_flight_until_it_is_old(
    dedangle: Dedangle, stage: Stage, reserved: Server
) -> None:
    dedangle("cleanup", reserved.id, *EXECUTE)
    stage.breaks.reserve_attachment(reserved.id, stage.user.volume())
    where = {"instance_uuid": reserved.id, "action": "dedangle_cleanup"}
    stage.edit("nova_cell1", "instance_actions", where, finish_time=None)
    found = dedangle("cleanup", reserved.id, "--all", *EXECUTE).findings
    assert {("in-flight", None)} == {(each["code"], each["outcome"]) for each in found}
    assert all("of dedangle is changing the server" in each["reason"] for each in found)

    stage.edit("nova_cell1", "instance_actions", where, start_time="2026-01-01 00:00:00.000000")
    (found,) = dedangle("cleanup", reserved.id, *EXECUTE).findings
    assert found["outcome"] == "removed"


def _rows_of(stage: Stage, server: Server) -> list[dict[str, Any]]:
    statement = sa.text("SELECT * FROM instance_actions WHERE instance_uuid = :id AND action = 'dedangle_cleanup'")
    with stage.cloud.home.connect("nova_cell1") as nova:
        return [dict(row) for row in nova.execute(statement, {"id": server.id}).mappings()]
