# SPDX-License-Identifier: Apache-2.0
"""Killed after each of its writes, a run that attaches a volume again leaves what the next one finishes."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from cases.stage import Stage
from cases.test_reattach import is_whole, statuses
from cases.test_undo import connector_of
from dedangle.lab import rows
from dedangle.lab.builders import Server
from dedangle.lab.cloud import Cloud
from dedangle.lab.config import COMPUTE_HOST
from shell import THOROUGH, Dedangle

WRITES = 9
"""Begin and end of the instance action, three of the journal, three of Cinder, one of Nova."""
AT_ONCE = 3
COMPLETE = "openstack --os-volume-api-version 3.44 volume attachment complete "


@pytest.mark.parametrize("how", ["kill", pytest.param("interrupt", marks=pytest.mark.thorough)])
def test_after_every_write(cloud: Cloud, dedangle: Dedangle, tmp_path: Path, how: str) -> None:
    connector = connector_of(COMPUTE_HOST, tmp_path)
    execute = ("--reattach", "--connector", connector, "--execute", "--yes", "-f", "json")
    Stage(cloud, "p2").server()

    def end_after(number: int) -> str:
        stage = Stage(cloud)
        server = lost(stage)
        done = dedangle.until(how, str(number), "cleanup", server.id, *execute)
        where = done.err.partition("boundary ")[2].partition("\n")[0]
        if where:
            assert done.code == (-signal.SIGKILL if how == "kill" else 130), f"{where}: {done.err}"
        if how == "interrupt":
            # A safe boundary: nothing is left half-way.
            assert len(rows.snapshot(cloud.home).attachments_of(server.id)) in (1, 2), where
        finish(cloud, dedangle, server, execute)
        after = rows.snapshot(cloud.home)
        assert is_whole(after, server), where
        assert statuses(after, server) == {("attached", "in-use")}, where
        return where

    with ThreadPoolExecutor(AT_ONCE) as pool:
        chosen = range(1, WRITES + 1, 1 if THOROUGH else 2)
        ended = list(pool.map(end_after, chosen))
    if THOROUGH:
        writes = ("CinderApi.create_attachment", "CinderApi.complete_attachment", "NovaDatabase.name_attachment")
        assert all(any(each.endswith(write) for each in ended) for write in writes), ended
    assert all(ended[:-1]), ended


def lost(stage: Stage) -> Server:
    server = stage.server()
    stage.user.stop(server.id)
    stage.breaks.lose_attachment(server.id, server.volumes[1])
    return server


def forget_open_action(cloud: Cloud, server: Server) -> None:
    """Make the open action of a killed run old: until then the next one takes the server for in flight."""
    table = sa.table("instance_actions", *map(sa.column, ("instance_uuid", "action", "start_time", "finish_time")))
    is_own = (table.c.instance_uuid == server.id, table.c.action == "dedangle_cleanup", table.c.finish_time.is_(None))
    with cloud.home.connect("nova_cell1") as nova:
        nova.execute(sa.update(table).where(*is_own).values(start_time="2026-01-01 00:00:00.000000"))


def finish(cloud: Cloud, dedangle: Dedangle, server: Server, execute: tuple[str, ...]) -> None:
    """Follow what the findings say, in as many runs as it may take."""
    for _ in range(3):
        rows.settle(cloud.home)
        forget_open_action(cloud, server)
        found = dedangle("audit", "--server", server.id, "-f", "json").findings
        if not found:
            return
        command = found[0]["next"][-1]
        if command.startswith(COMPLETE):
            path = f"/attachments/{command.removeprefix(COMPLETE)}/action"
            cloud.admin.cinder("POST", path, {"os-complete": {}}, expect=204)
        else:
            assert "--reattach" in command or "--reattach" in found[0]["reason"], command
            dedangle("cleanup", server.id, *execute)
