# SPDX-License-Identifier: Apache-2.0
"""Two who clean one server at once change each row once, and the other says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cases.stage import Stage
from dedangle.lab import rows
from dedangle.lab.builders import Server
from dedangle.lab.client import wait_for
from dedangle.lab.cloud import Cloud
from shell import Dedangle, Done, finish

CLEANUP = ("--no-host", "--execute", "--yes", "-f", "json")
SWEEP = ("sweep", "--execute", "--yes", "--max-removals", "1000", "-f", "json")


def at_once(dedangle: Dedangle, server: str, directory: Path, *commands: tuple[str, ...]) -> list[Done]:
    """Run the commands so that each of them has judged the server again before any of them writes."""
    held = [directory / str(number) for number in range(len(commands))]
    running = [dedangle.start_until(str(each), server, *command) for each, command in zip(held, commands, strict=True)]
    for each, process in zip(held, running, strict=True):
        wait_for(
            "the first intent",
            lambda each=each, process=process: each.exists() or process.poll() is not None,
            seconds=180,
        )
    for each in held:
        each.unlink()
    return [finish(each) for each in running]


def outcomes(runs: list[Done], server: str) -> list[str]:
    return sorted(
        each["outcome"] for run in runs for each in run.findings if each["server_id"] == server and each["outcome"]
    )


def changed(before: rows.Snapshot, after: rows.Snapshot, server: str) -> list[rows.Change]:
    """What changed of the server's mappings and attachments."""
    return [
        each
        for each in rows.diff(before, after)
        if each.table in ("mappings", "attachments") and (each.after or {}).get("instance_uuid") == server
    ]


def assert_once(change: rows.Change) -> None:
    assert change.after
    assert change.before
    assert (bool(change.before["deleted"]), bool(change.after["deleted"])) == (False, True)


def never_attached(stage: Stage) -> Server:
    server = stage.server(0)
    stage.breaks.mapping_never_attached(server.id, stage.user.volume())
    return server


def never_used(stage: Stage) -> Server:
    server = stage.server(0)
    stage.breaks.reserve_attachment(server.id, stage.user.volume())
    return server


@pytest.mark.parametrize(
    ("broken", "other"),
    [
        (never_attached, "cleanup"),
        pytest.param(never_used, "sweep", marks=pytest.mark.thorough),
        pytest.param(never_attached, "sweep", marks=pytest.mark.thorough),
        pytest.param(never_used, "cleanup", marks=pytest.mark.thorough),
    ],
)
def test_two_runs_remove_a_row_once(
    cloud: Cloud, dedangle: Dedangle, stage: Stage, tmp_path: Path, broken: Any, other: str
) -> None:
    server = broken(stage)
    before = rows.snapshot(cloud.home)
    cleanup = ("cleanup", server.id, *CLEANUP)
    runs = at_once(dedangle, server.id, tmp_path, cleanup, cleanup if other == "cleanup" else SWEEP)
    assert outcomes(runs, server.id) == ["changed-meanwhile", "removed"], [run.err for run in runs]
    assert {run.code for run in runs} == {0}
    (change,) = changed(before, rows.snapshot(cloud.home), server.id)
    assert_once(change)


def stopped_with_a_lost_attachment(stage: Stage) -> Server:
    server = stage.server(2)
    stage.breaks.lose_attachment(server.id, server.volumes[1])
    stage.user.stop(server.id)
    return server


def test_a_cleanup_and_a_hard_reboot_remove_a_mapping_once(
    cloud: Cloud, dedangle: Dedangle, stage: Stage, tmp_path: Path
) -> None:
    server = stopped_with_a_lost_attachment(stage)
    before = rows.snapshot(cloud.home)
    done = dedangle.cleanup_while(tmp_path / "held", server.id, stage.user.reboot, *CLEANUP)
    assert outcomes([done], server.id) == ["changed-meanwhile"]
    assert done.code == 0
    (change,) = changed(before, rows.snapshot(cloud.home), server.id)
    assert_once(change)
    assert stage.user.status(server.id) == "ACTIVE"


def test_a_server_that_is_started_meanwhile_keeps_its_mapping(
    cloud: Cloud, dedangle: Dedangle, stage: Stage, tmp_path: Path
) -> None:
    server = stopped_with_a_lost_attachment(stage)
    before = rows.snapshot(cloud.home)
    done = dedangle.cleanup_while(tmp_path / "held", server.id, stage.user.start, *CLEANUP)
    assert outcomes([done], server.id) == ["changed-meanwhile"]
    assert not changed(before, rows.snapshot(cloud.home), server.id)
