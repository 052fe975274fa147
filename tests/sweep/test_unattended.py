# SPDX-License-Identifier: Apache-2.0
"""A sweep that ends in time, shares the fleet, waits its turn, and tells Prometheus; the next run goes on."""

from __future__ import annotations

import itertools
import json
import os
import signal
from pathlib import Path

import pytest
import sqlalchemy as sa

from cases.stage import Stage
from dedangle.core.sharding import Shard
from dedangle.lab import rows
from dedangle.lab.builders import Server
from dedangle.lab.cloud import Cloud
from dedangle.state.lock import exclusive
from shell import THOROUGH, Configure, Dedangle, finish

EXECUTE = ("sweep", "--execute", "--yes", "--max-removals", "1000", "-f", "json")
SHOW_OF_SERVER = {"method": "GET", "path": r"/v3/.*attachments(/detail)?", "query": "instance_id="}


@pytest.fixture(scope="module")
def stage(cloud: Cloud, dedangle: Dedangle) -> Stage:
    """A cloud in which nothing is left that a sweep would remove."""
    Stage(cloud, "p2").server()
    assert dedangle(*EXECUTE).code == 0
    return Stage(cloud)


@pytest.fixture(scope="module")
def fleet(stage: Stage) -> list[Server]:
    return [stage.server(0) for _ in range(4)]


def reserved(stage: Stage, servers: list[Server]) -> list[Server]:
    """Give each of the servers an attachment that was never used."""
    for each in servers:
        stage.breaks.reserve_attachment(each.id, stage.user.volume())
    return servers


def held(cloud: Cloud, servers: list[Server]) -> set[str]:
    """Which of the servers still have the attachment beside that of their root disk."""
    now = rows.snapshot(cloud.home)
    return {each.id for each in servers if len(list(now.attachments_of(each.id))) > 1}


def checked(state_dir: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((state_dir / "sightings.json").read_text())["last_checked"]
    return found


def test_what_a_budget_leaves_the_next_runs_begin_with(
    cloud: Cloud,
    dedangle: Dedangle,
    stage: Stage,
    fleet: list[Server],
    state_dir: Path,
    configure: Configure,
    tmp_path: Path,
) -> None:
    servers = reserved(stage, fleet)
    slow = configure(concurrency=1, grace_period=3600)
    report = tmp_path / "report.json"
    seen: list[set[str]] = []
    # Each server takes longer than the whole budget: at most the two that are begun ahead of time are judged by a run.
    with cloud.faults.inject("cinder", delay=3, **SHOW_OF_SERVER):
        for _ in range(20):
            done = dedangle("sweep", "--time-budget", "4s", "--report", str(report), "-f", "json", *slow)
            seen.append(set(checked(state_dir)))
            if done.code == 0 or seen[-1] >= {each.id for each in servers}:
                break
            assert done.code == 5, done.err
            (missed,) = json.loads(report.read_text())["not_checked"]
            assert "suspect servers (time budget used up)" in missed
    assert len(seen) > 1
    # Each run went on where the one before had ended.
    assert all(before < after for before, after in itertools.pairwise(seen)), seen
    assert seen[-1] >= {each.id for each in servers}


def test_the_fuse_counts_what_the_budget_leaves(
    cloud: Cloud, dedangle: Dedangle, stage: Stage, fleet: list[Server], configure: Configure
) -> None:
    assert dedangle(*EXECUTE).code == 0
    servers = reserved(stage, fleet)
    slow = configure(concurrency=1)
    assert {each.id for each in servers} <= {
        each["server_id"] for each in dedangle("sweep", "-f", "json", *slow).findings
    }
    few = ("sweep", "--execute", "--yes", "--max-removals", "3")
    # The bulk read must end within half of the budget, however busy the machine is; the first servers use up the rest.
    with cloud.faults.inject("cinder", delay=6, **SHOW_OF_SERVER):
        done = dedangle(*few, "--time-budget", "12s", *slow)
    assert done.code == 6, done.err
    assert "on servers that this run had no time to check" in done.err
    assert len(held(cloud, servers)) == 4
    assert dedangle(*EXECUTE, *slow).code == 0
    assert held(cloud, servers) == set()


# Intent, action, delete, outcome and end of the action of the first server; then those of the second.
@pytest.mark.parametrize("boundary", range(1, 11) if THOROUGH else (6,))
def test_a_sweep_that_is_killed_in_its_removals_is_finished_by_the_next(
    cloud: Cloud, dedangle: Dedangle, stage: Stage, fleet: list[Server], configure: Configure, boundary: int
) -> None:
    assert dedangle(*EXECUTE).code == 0
    servers = reserved(stage, fleet[:2])
    one_by_one = configure(concurrency=1)
    killed = dedangle.until("kill", str(boundary), *EXECUTE, "--time-budget", "10m", *one_by_one)
    assert killed.code == -signal.SIGKILL, killed.err
    assert f"boundary {boundary}: " in killed.err
    assert len(held(cloud, servers)) == 2 - (boundary >= 3) - (boundary >= 8)
    # The action that it left open keeps others from its server for ten minutes.
    with cloud.home.connect("nova_cell1") as nova:
        old = {"long_ago": "2026-01-01 00:00:00.000000"}
        nova.execute(sa.text("UPDATE instance_actions SET start_time = :long_ago WHERE finish_time IS NULL"), old)
    done = dedangle(*EXECUTE, "--time-budget", "10m")
    assert done.code == 0, done.err
    assert held(cloud, servers) == set()
    assert dedangle(*EXECUTE).findings == []


def test_two_sweeps_of_two_machines_at_once_remove_each_row_once(
    cloud: Cloud, dedangle: Dedangle, stage: Stage, fleet: list[Server], configure: Configure
) -> None:
    servers = reserved(stage, fleet)
    ours = {each.id for each in servers}
    # Neither sees the lock of the other.
    runs = [dedangle.start(*EXECUTE), dedangle.start(*EXECUTE, *configure())]
    both = [finish(each) for each in runs]
    assert [each.code for each in both] == [0, 0], [each.err for each in both]
    removed = [each["server_id"] for done in both for each in done.findings if each["outcome"] == "removed"]
    assert sorted(each for each in removed if each in ours) == sorted(ours)
    assert held(cloud, servers) == set()


def test_shards_clean_the_fleet_between_them(
    cloud: Cloud, dedangle: Dedangle, stage: Stage, fleet: list[Server], state_dir: Path, configure: Configure
) -> None:
    servers = reserved(stage, fleet[:3])
    pair = [Shard(1, 2), Shard(2, 2)]
    own = [{each.id for each in servers if shard.holds(each.id)} for shard in pair]
    options = configure(concurrency=2)
    # The other shard's run does not keep this one's waiting.
    with exclusive(state_dir, "lock-2-of-2"):
        assert dedangle(*EXECUTE, "--shard", "1/2", *options).code == 0
    assert held(cloud, servers) == own[1]
    job = {"JOB_COMPLETION_INDEX": "1", "DEDANGLE_SHARDS": "2"}
    second = dedangle(*EXECUTE, "--shard", "auto", *options, **job)
    assert second.code == 0
    assert {each["server_id"] for each in second.findings if each["outcome"]} == own[1]
    assert held(cloud, servers) == set()


def test_the_fuse_counts_within_the_shard(cloud: Cloud, dedangle: Dedangle, stage: Stage, fleet: list[Server]) -> None:
    servers = reserved(stage, fleet[:3])
    larger = max((Shard(1, 2), Shard(2, 2)), key=lambda shard: sum(shard.holds(each.id) for each in servers))
    most = sum(larger.holds(each.id) for each in servers)
    few = ("sweep", "--execute", "--yes", "--shard", str(larger), "--max-removals")
    assert dedangle(*few, str(most - 1)).code == 6
    assert len(held(cloud, servers)) == 3
    assert dedangle(*few, str(most)).code == 0
    assert len(held(cloud, servers)) == 3 - most


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--time-budget", "soon"), "invalid duration"),
        (("--time-budget", "0m"), "invalid duration"),
        (("--shard", "0/4"), "invalid shard 0/4: use 1/N to N/N"),
        (("--shard", "5/4"), "invalid shard 5/4: use 1/N to N/N"),
        (("--shard", "half"), "invalid shard 'half': use 1/4 or auto"),
        (("--shard", "auto"), "DEDANGLE_SHARDS"),
        (("--max-removals", "-1"), "invalid number '-1': use 0 or more"),
    ],
)
def test_what_makes_no_sense_is_refused(dedangle: Dedangle, arguments: tuple[str, str], why: str) -> None:
    done = dedangle("sweep", *arguments)
    assert done.code == 2
    assert why in done.err
    assert "Traceback" not in done.err


# tooz imports eventlet where that is installed, which warns of its own end.
@pytest.mark.filterwarnings("ignore:\\nEventlet")
def test_coordination_url_in_place_of_the_file(
    cloud: Cloud, dedangle: Dedangle, stage: Stage, state_dir: Path, configure: Configure, tmp_path: Path
) -> None:
    from dedangle.state import coordination

    url = f"file://{tmp_path / 'locks'}"
    options = configure(coordination_url=url)
    with coordination.exclusive(url, "dedangle-lock", member="test"):
        busy = dedangle(*EXECUTE, "--wait-lock", "1", *options)
    assert (busy.code, busy.out) == (7, "")
    assert "Another run of dedangle holds the lock dedangle-lock" in busy.err
    free = dedangle(*EXECUTE, *options)
    assert free.code == 0
    assert not (state_dir / "lock").exists()
    refused = dedangle(*EXECUTE, *configure(coordination_url="mysql://nova:secret@db/nova"))
    assert (refused.code, refused.out) == (2, "")
    assert "Galera" in refused.err
    assert "secret" not in refused.err


def test_metrics_go_on_from_run_to_run(
    cloud: Cloud, dedangle: Dedangle, stage: Stage, fleet: list[Server], configure: Configure, tmp_path: Path
) -> None:
    options = configure(textfile_dir=tmp_path)
    removed = 'dedangle_removed_total{code="attachment-never-used",shard="1/1"}'
    # What other tests have left goes first.
    totals = []
    for count in (1, 2):
        reserved(stage, fleet[:count])
        assert dedangle(*EXECUTE, *options).code == 0
        totals.append(sample(tmp_path / "dedangle.prom", removed))
    assert totals[1] == totals[0] + 2
    success = 'dedangle_last_success_timestamp_seconds{shard="1/1"}'
    before = sample(tmp_path / "dedangle.prom", success)
    with cloud.faults.inject("cinder", method="GET", path=r"/v3/.*attachments", status=500):
        assert dedangle("sweep", "--textfile", str(tmp_path / "dedangle.prom"), *options).code == 5
    text = (tmp_path / "dedangle.prom").read_text()
    assert 'dedangle_run_complete{shard="1/1"} 0.0' in text
    assert f"{removed} {totals[1]}" in text
    assert sample(tmp_path / "dedangle.prom", success) == before


def test_metrics_tell_of_a_run_that_does_not_end(
    cloud: Cloud, dedangle: Dedangle, stage: Stage, state_dir: Path, configure: Configure, tmp_path: Path
) -> None:
    options = configure(textfile_dir=tmp_path)
    age, seconds = (f'dedangle_{each}_seconds{{shard="1/1"}}' for each in ("lock_age", "run_duration"))
    assert dedangle(*EXECUTE, *options).code == 0
    before = (tmp_path / "dedangle.prom").read_text()
    assert 0 < sample(tmp_path / "dedangle.prom", age) < sample(tmp_path / "dedangle.prom", seconds)
    with exclusive(state_dir):
        os.utime(state_dir / "lock", (0, 0))
        busy = dedangle(*EXECUTE, *options)
    assert (busy.code, busy.out) == (7, "")
    assert "since 1970-01-01T00:00:00Z" in busy.err
    assert sample(tmp_path / "dedangle.prom", age) > 1e9
    after = (tmp_path / "dedangle.prom").read_text()
    assert [line for line in after.splitlines() if age not in line] == [
        line for line in before.splitlines() if age not in line
    ]


def sample(path: Path, name: str) -> float:
    (value,) = (line.split(" ")[1] for line in path.read_text().splitlines() if line.startswith(name))
    return float(value)


def test_cinder_that_asks_to_slow_down_is_asked_again(
    cloud: Cloud, dedangle: Dedangle, stage: Stage, fleet: list[Server], configure: Configure
) -> None:
    servers = reserved(stage, fleet[:2])
    with cloud.faults.inject("cinder", status=429, times=2, **SHOW_OF_SERVER):
        done = dedangle("sweep", "-f", "json", *configure(concurrency=4))
    assert "answered 429" not in done.err
    assert {each.id for each in servers} <= {each["server_id"] for each in done.findings}
