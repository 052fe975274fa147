# SPDX-License-Identifier: Apache-2.0
"""Several servers are cleaned at once, and a signal and a kill mean the same as with one."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from cases.stage import Stage
from dedangle.lab import rows
from dedangle.lab.builders import Server
from dedangle.lab.client import wait_for
from dedangle.lab.cloud import Cloud
from shell import THOROUGH, Configure, Dedangle, finish, journal

EXECUTE = ("sweep", "--execute", "--yes", "--max-removals", "1000", "-f", "json")
DELETE = {"method": "DELETE", "path": r"/v3/.*attachments/.+"}
AT_ONCE = 3
LONG_AGO = {"long_ago": "2026-01-01 00:00:00.000000"}


@pytest.fixture(scope="module")
def stage(cloud: Cloud) -> Stage:
    Stage(cloud, "p2").server()
    return Stage(cloud)


@pytest.fixture(scope="module")
def servers(stage: Stage) -> list[Server]:
    return [stage.server(0) for _ in range(2 * AT_ONCE)]


@pytest.fixture
def broken(stage: Stage, servers: list[Server]) -> list[Server]:
    """Servers with two attachments each that were never used, in a cloud in which a sweep finds nothing else."""
    for each in servers:
        for _ in range(2):
            stage.breaks.reserve_attachment(each.id, stage.user.volume())
    return servers


def held(cloud: Cloud, servers: list[Server]) -> int:
    """How many attachments beside those of their root disks the servers have."""
    now = rows.snapshot(cloud.home)
    return sum(len(list(now.attachments_of(each.id))) - 1 for each in servers)


def in_hand(state_dir: Path) -> Iterator[int]:
    """How many changes were begun and not done yet, after each line of the journal."""
    count = 0
    for line in journal(state_dir):
        count += {"intent": 1, "outcome": -1}[line["phase"]]
        yield count


def open_actions(cloud: Cloud, servers: list[Server]) -> int:
    with cloud.home.connect("nova_cell1") as nova:
        query = (
            "SELECT instance_uuid FROM instance_actions "
            "WHERE action = 'dedangle_cleanup' AND finish_time IS NULL AND start_time > :long_ago"
        )
        return len({*nova.execute(sa.text(query), LONG_AGO).scalars()} & {each.id for each in servers})


@pytest.mark.parametrize("concurrency", [pytest.param(1, marks=pytest.mark.thorough), AT_ONCE])
def test_as_many_at_once_as_the_option_says(
    cloud: Cloud, dedangle: Dedangle, broken: list[Server], state_dir: Path, configure: Configure, concurrency: int
) -> None:
    # Long enough for the others to come so far, however busy the machine is.
    with cloud.faults.inject("cinder", delay=3, times=AT_ONCE, **DELETE):
        done = dedangle(*EXECUTE, *configure(concurrency=concurrency))
    assert done.code == 0, done.err
    assert max(in_hand(state_dir)) == concurrency
    assert held(cloud, broken) == 0
    assert [each["outcome"] for each in done.findings] == ["removed"] * 4 * AT_ONCE
    assert len({line["entry"] for line in journal(state_dir)}) == 4 * AT_ONCE
    assert open_actions(cloud, broken) == 0
    assert dedangle(*EXECUTE, *configure(concurrency=concurrency)).findings == []


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.thorough)]
)
def test_signal_ends_each_at_its_next_boundary(
    cloud: Cloud,
    dedangle: Dedangle,
    broken: list[Server],
    state_dir: Path,
    configure: Configure,
    signum: signal.Signals,
    code: int,
) -> None:
    options = configure(concurrency=AT_ONCE)
    with cloud.faults.inject("cinder", delay=3, **DELETE), dedangle.start(*EXECUTE, *options) as process:
        wait_for("as many intents as servers at once", lambda: AT_ONCE in in_hand(state_dir))
        process.send_signal(signum)
        done = finish(process)
    assert done.code == code, done.err
    assert "Finishing the change in progress, then stopping ..." in done.err
    assert "Stopped by a signal; no change was interrupted" in done.err
    assert "Traceback" not in done.err
    # What was begun was ended, and nothing was begun after it.
    assert [line["phase"] for line in journal(state_dir)] == ["intent"] * AT_ONCE + ["outcome"] * AT_ONCE
    assert open_actions(cloud, broken) == 0
    assert held(cloud, broken) == 3 * AT_ONCE
    assert dedangle(*EXECUTE, *options).code == 0
    assert held(cloud, broken) == 0


@pytest.mark.parametrize("boundary", range(1, 30) if THOROUGH else (17,))
def test_killed_anywhere_and_finished_by_the_next(
    cloud: Cloud, dedangle: Dedangle, broken: list[Server], configure: Configure, boundary: int
) -> None:
    options = configure(concurrency=AT_ONCE)
    killed = dedangle.until("kill", str(boundary), *EXECUTE, *options)
    assert killed.code == -signal.SIGKILL, killed.err
    assert held(cloud, broken) > 0
    # An action that was left open keeps others from its server for ten minutes.
    with cloud.home.connect("nova_cell1") as nova:
        nova.execute(sa.text("UPDATE instance_actions SET start_time = :long_ago WHERE finish_time IS NULL"), LONG_AGO)
    done = dedangle(*EXECUTE, *options)
    assert done.code == 0, done.err
    assert held(cloud, broken) == 0
    assert dedangle(*EXECUTE, *options).findings == []


@pytest.mark.thorough
@pytest.mark.parametrize("boundary", range(1, 30))
def test_interrupted_anywhere_nothing_is_left_half_done(
    cloud: Cloud, dedangle: Dedangle, broken: list[Server], state_dir: Path, configure: Configure, boundary: int
) -> None:
    options = configure(concurrency=AT_ONCE)
    done = dedangle.until("interrupt", str(boundary), *EXECUTE, *options)
    assert done.code == 130, done.err
    assert "Traceback" not in done.err
    assert list(in_hand(state_dir))[-1:] in ([], [0])
    assert open_actions(cloud, broken) == 0
    assert dedangle(*EXECUTE, *options).code == 0
    assert held(cloud, broken) == 0
