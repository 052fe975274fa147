# SPDX-License-Identifier: Apache-2.0
"""A volume that no row explains is found in the whole cloud and by its id, and reset by the command alone."""

import json
from pathlib import Path

import pytest

from cases.stage import Stage
from dedangle.lab import rows
from dedangle.lab.cloud import Cloud
from shell import Dedangle

LONG_AGO = "2026-01-01 00:00:00"


def stuck(stage: Stage, status: str) -> str:
    """Return a volume that a crash left without a row on either side."""
    volume = stage.user.volume()
    stage.edit_volume(volume, status=status, attach_status="attached", updated_at=LONG_AGO)
    return volume


@pytest.mark.parametrize("status", ["in-use", pytest.param("detaching", marks=pytest.mark.thorough)])
def test_a_stuck_volume_is_listed_and_reset(cloud: Cloud, dedangle: Dedangle, status: str) -> None:
    stage = Stage(cloud)
    server, volume = stage.server(), stuck(stage, status)
    before = rows.snapshot(cloud.home)
    (listed,) = [each for each in dedangle("audit", "-f", "json").findings if each["volume_id"] == volume]
    assert (listed["code"], listed["remedy"], listed["disposition"]) == ("volume-stuck", "reset-status", "report")
    assert listed["next"] == [f"dedangle cleanup --volume {volume} --execute"]
    swept = dedangle("sweep", "--execute", "--yes", "-f", "json")
    assert [each["outcome"] for each in swept.findings if each["volume_id"] == volume] == [None]
    (planned,) = dedangle("cleanup", "--volume", volume, "-f", "json").findings
    assert planned["disposition"] == "restore"
    assert rows.diff(before, rows.snapshot(cloud.home)) == []

    done = dedangle("cleanup", "--volume", volume, "--execute", "--yes", "-f", "json")
    assert (done.code, [each["outcome"] for each in done.findings]) == (0, ["restored"])
    once = rows.snapshot(cloud.home)
    (change,) = rows.diff(before, once)
    assert (change.table, change.key, once.volumes[volume]["status"]) == ("volumes", volume, "available")
    entry = json.loads(dedangle("journal", "list", "-f", "json").out)[-1]
    assert (entry["remedy"], entry["outcome"]) == ("reset-status", "restored")

    again = dedangle("cleanup", "--volume", volume, "--execute", "--yes", "-f", "json")
    assert (again.code, again.findings) == (0, [])
    assert rows.diff(once, rows.snapshot(cloud.home)) == []
    stage.user.attach(server.id, volume)


def test_a_young_one_waits_and_one_with_a_row_is_none(cloud: Cloud, dedangle: Dedangle, tmp_path: Path) -> None:
    (tmp_path / "own.conf").write_text("[dedangle]\ngrace_period = 3600\n")
    cleanup = ("--config-dir", str(tmp_path), "cleanup", "--execute", "--yes", "-f", "json", "--volume")
    stage = Stage(cloud)
    server, young = stage.server(0), stage.user.volume()
    stage.edit_volume(young, status="attaching")
    before = rows.snapshot(cloud.home)
    assert [each["disposition"] for each in dedangle(*cleanup, young).findings] == ["wait"]
    assert dedangle(*cleanup, server.volumes[0]).findings == []
    assert rows.diff(before, rows.snapshot(cloud.home)) == []
    stage.edit_volume(young, status="available")
