# SPDX-License-Identifier: Apache-2.0
"""Whatever users do while the sweep removes without a grace period, they succeed, and every disk stays where it was."""

import os
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from dedangle.core import times
from dedangle.lab import rows
from dedangle.lab.cloud import Cloud
from interleavings.storm import Run, Storm, wrong
from shell import journal

OPERATIONS = 300
PLANT_EVERY = 20
USERS = 6
SEED = int(os.environ.get("DEDANGLE_STORM_SEED", "1"))


# Seconds: of what was connected, and of what nothing was ever connected through.
GRACES = ((0, 0), (20, 5))


@pytest.fixture(scope="module", params=GRACES, ids=lambda graces: f"grace-{graces[0]}-reserved-{graces[1]}")
def graces(request: pytest.FixtureRequest) -> tuple[int, int]:
    found: tuple[int, int] = request.param
    return found


@pytest.fixture(scope="module")
def stormy(graces: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    grace, reserved = map(str, graces)
    overrides = {
        "dedangle": {"grace_period": grace, "grace_period_reserved": reserved, "max_removals": "1000"},
        # The lab's Placement closes a connection that was idle for ten seconds, maybe just when Nova uses it again.
        "placement": {"connect_retries": "3"},
        "DEFAULT": {"compute_driver": "fake.RescueBFVDriver"},
    }
    with Cloud(tmp_path_factory.mktemp("stormy"), nova_overrides=overrides, hosts=2) as cloud:
        yield cloud


def test_nothing_that_is_used_is_removed_while_users_work(stormy: Cloud, graces: tuple[int, int]) -> None:
    storm = Storm(stormy, SEED, USERS)
    storm.settle()
    try:
        storm.rage(OPERATIONS, PLANT_EVERY)
    finally:
        tell(storm, stormy)

    now = rows.snapshot(stormy.home)
    assert [wrong(now, machine) for user in storm.users for machine in user.machines if wrong(now, machine)] == []
    assert lost_and_left(now) == (set(), set())
    assert {now.volumes[each]["status"] for user in storm.users for each in user.free} <= {"available"}
    assert failed_events(stormy) == []

    removals = entries(stormy)
    planted = storm.planted.attachments
    assert [each for each in removals if each["attachment_id"] not in planted] == []
    assert {each for each in planted if not now.attachments[each]["deleted"]} == set()
    assert {now.volumes[each]["status"] for each in planted.values()} == {"available"}
    # A reboot waits for no grace period.
    by_sweep = [each for each in removals if each["door"] == "sweep"]
    assert [each for each in by_sweep if seen_for(each) < grace_of(each, graces)] == []
    # What was planted early went while users were working, not in the calm at the end.
    in_the_storm = [each for each in storm.sweeper.runs if each.ended < storm.ended]
    assert len(in_the_storm) >= 5
    # It has judged servers that were in the middle of an operation, or the storm tells nothing.
    assert sum(each.suspects - len(each.outcomes) for each in in_the_storm) >= 10
    assert any(outcome["outcome"] == "removed" for run in in_the_storm for outcome in run.outcomes)
    assert [unexplained(run, set(planted)) for run in storm.sweeper.runs if unexplained(run, set(planted))] == []


def grace_of(removal: dict[str, Any], graces: tuple[int, int]) -> timedelta:
    grace, reserved = graces
    never_connected = removal["code"] == "mapping-never-attached" or removal["row"].get("status") == "reserved"
    return timedelta(seconds=reserved if never_connected else grace)


def seen_for(removal: dict[str, Any]) -> timedelta:
    """For how long the sweep had seen a finding when it wrote down its removal; first_seen has whole seconds."""
    return times.parse(removal["intended_at"]) - times.parse(removal["first_seen"])


def entries(cloud: Cloud) -> list[dict[str, Any]]:
    """Every removal that was ever meant, with its outcome."""
    lines = journal(cloud.home.state / "dedangle")
    outcomes = {each["entry"]: each for each in lines if each["phase"] == "outcome"}
    return [
        {**each, "intended_at": each["at"], **outcomes.get(each["entry"], {})}
        for each in lines
        if each["phase"] == "intent"
    ]


def lost_and_left(now: rows.Snapshot) -> tuple[set[object], set[object]]:
    """The attachments that only Nova, and that only Cinder has, in the whole lab."""
    mapped = {
        each["attachment_id"]
        for each in now.mappings.values()
        if not each["deleted"] and each["destination_type"] == "volume"
    }
    held = {each["id"] for each in now.attachments.values() if not each["deleted"]}
    return mapped - held, held - mapped


def failed_events(cloud: Cloud) -> list[tuple[Any, ...]]:
    """What went wrong on a host without a user being told."""
    query = (
        "SELECT a.instance_uuid, a.action, e.event, e.details FROM instance_actions_events e "
        "JOIN instance_actions a ON a.id = e.action_id WHERE e.result IS NULL OR e.result != 'Success'"
    )
    with cloud.home.connect("nova_cell1") as nova:
        return [tuple(row) for row in nova.execute(sa.text(query))]


def unexplained(run: Run, planted: set[str]) -> str:
    """Why a sweep ended as it did, unless that is as it should: a list that changes, or the failure of a planting."""
    if run.code == 0:
        return ""
    missed = [each for each in run.err.splitlines() if "Not checked: " in each]
    strange = [each for each in missed if "changed faster than it could be read" not in each]
    tried = [each for each in run.outcomes if each["outcome"] in ("failed", "refused")]
    strange += [str(each) for each in tried if each["attachment_id"] not in planted or each["outcome"] == "refused"]
    if run.code == 5 and not strange and (missed or tried):
        return ""
    return f"{time.strftime('%H:%M:%S', time.localtime(run.began))} exit {run.code}: {strange} {run.err}"


def tell(storm: Storm, cloud: Cloud) -> None:
    print(f"\nseed {SEED}: {storm.done.total()} operations of {len(storm.users)} users in {storm.seconds:.0f} s")
    for kind, count in storm.done.most_common():
        print(f"  {count:4} {kind} ({storm.spent[kind] / count:.1f} s each)")
    runs = storm.sweeper.runs
    in_the_storm = [each for each in runs if each.ended < storm.ended]
    suspects = sum(each.suspects for each in runs)
    print(f"{len(runs)} sweeps, {len(in_the_storm)} of them in the storm; {suspects} times a server was judged")
    print(f"exit codes {dict(Counter(each.code for each in runs))}, delays drawn {storm.weather.delays}")
    for run in (each for each in runs if each.code):
        print(f"  exit {run.code}: " + " | ".join(line for line in run.err.splitlines() if not line.startswith(" ")))
    counts = Counter((each["code"], each.get("door"), each.get("outcome")) for each in entries(cloud))
    print(f"planted {dict(storm.planted.kinds)}, {len(storm.planted.attachments)} attachments; journal:")
    for (code, door, outcome), count in counts.items():
        print(f"  {count:4} {code} by {door}: {outcome}")
