# SPDX-License-Identifier: Apache-2.0
"""`dedangle-nova-manage volume_attachment cleanup`: the command door under the blueprint's name."""

import pytest

from cases.stage import Stage
from dedangle.lab import rows
from dedangle.lab.builders import Server
from dedangle.lab.cloud import Cloud
from shell import Dedangle

CLEANUP = ("volume_attachment", "cleanup")


@pytest.fixture(scope="module")
def nova_manage(cloud: Cloud) -> Dedangle:
    return Dedangle(cloud, "dedangle-nova-manage")


@pytest.fixture
def reserved(cloud: Cloud) -> Server:
    """A server with an attachment that was never used."""
    Stage(cloud, "p2").server()
    stage = Stage(cloud)
    server = stage.server(0)
    stage.breaks.reserve_attachment(server.id, stage.user.volume())
    return server


def test_it_says_what_it_would_do_and_then_does_it(cloud: Cloud, nova_manage: Dedangle, reserved: Server) -> None:
    before = rows.snapshot(cloud.home)
    plan = nova_manage(*CLEANUP, reserved.id)
    assert plan.code == 0
    assert f"1. attachment-never-used of server {reserved.id}: to do" in plan.out
    assert "Nothing was changed. Run again with --execute." in plan.err
    assert not rows.diff(before, rows.snapshot(cloud.home))

    done = nova_manage(*CLEANUP, reserved.id, "--execute", "--max-removals", "1")
    assert done.code == 0
    assert f"1. attachment-never-used of server {reserved.id}: removed" in done.out
    (gone,) = [each.after for each in rows.diff(before, rows.snapshot(cloud.home)) if each.table == "attachments"]
    assert gone
    assert gone["deleted"]


@pytest.mark.thorough
def test_its_codes_are_those_of_the_command(cloud: Cloud, nova_manage: Dedangle, reserved: Server) -> None:
    assert nova_manage(*CLEANUP, "nobody").code == 2
    assert nova_manage(*CLEANUP, reserved.id, "--execute", "--max-removals", "0").code == 6
    with cloud.faults.inject("cinder", method="GET", path=r"/v3/.*attachments", status=500):
        assert nova_manage(*CLEANUP, reserved.id).code == 5


def test_novas_own_actions_are_there(nova_manage: Dedangle) -> None:
    done = nova_manage("volume_attachment", "--help")
    assert "{cleanup,get_connector,refresh,show}" in done.out
    assert nova_manage("volume_attachment", "show", "nobody", "nothing").code == 2
