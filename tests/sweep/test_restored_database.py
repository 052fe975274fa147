# SPDX-License-Identifier: Apache-2.0
"""The manual's procedure for a Cinder whose database came back from a backup, on one that really did."""

import sqlite3
from contextlib import closing
from pathlib import Path

from cases.stage import Stage
from cases.test_undo import connector_of
from dedangle.lab import rows
from dedangle.lab.cloud import Cloud
from dedangle.lab.config import COMPUTE_HOST
from shell import Dedangle

SERVERS = 3


def copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


def test_volumes_that_an_older_cinder_forgot_are_attached_again(
    cloud: Cloud, dedangle: Dedangle, tmp_path: Path
) -> None:
    stage = Stage(cloud)
    stage.server()
    servers = [stage.server(0) for _ in range(SERVERS)]
    volumes = [stage.user.volume() for _ in servers]
    live, backup = cloud.home.database_file("cinder"), tmp_path / "backup.db"
    copy(live, backup)
    for server, volume in zip(servers, volumes, strict=True):
        stage.user.attach(server.id, volume)
    copy(backup, live)
    rows.settle(cloud.home)
    before = rows.snapshot(cloud.home)

    swept = dedangle("sweep", "--execute", "--yes", "-f", "json")
    lost = [each for each in swept.findings if each["volume_id"] in volumes]
    assert {each["code"] for each in lost} == {"attachment-lost-in-use"}
    assert {each["volume_id"] for each in lost} == set(volumes)
    assert any("lost" in fact for fact in lost[0]["evidence"])
    assert before.mappings == rows.snapshot(cloud.home).mappings

    since = dedangle("audit", "--since", "2026-01-01", "-f", "json").findings
    assert {each["volume_id"] for each in since if each["code"] == "attachment-lost-in-use"} >= set(volumes)
    assert [
        each for each in dedangle("audit", "--since", "2999-01-01", "-f", "json").findings if each["bdm_uuid"]
    ] == []
    assert dedangle("audit", "--since", "yesterday").code == 2

    connector = connector_of(COMPUTE_HOST, tmp_path)
    for server, volume in zip(servers, volumes, strict=True):
        options = ("--reattach", "--connector", connector, "--execute", "--yes", "-f", "json")
        done = dedangle("cleanup", server.id, *options)
        assert [(each["volume_id"], each["outcome"]) for each in done.findings] == [(volume, "restored")], done
    after = rows.snapshot(cloud.home)
    for server, volume in zip(servers, volumes, strict=True):
        assert {str(each["volume_id"]) for each in after.mappings_of(server.id)} == {*server.volumes, volume}
        assert {str(each["attachment_id"]) for each in after.mappings_of(server.id)} == {
            str(each["id"]) for each in after.attachments_of(server.id)
        }
        assert after.volumes[volume]["status"] == "in-use"
    assert [each for each in dedangle("audit", "-f", "json").findings if each["volume_id"] in volumes] == []
