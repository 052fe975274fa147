# SPDX-License-Identifier: Apache-2.0
"""Whenever a user starts or rescues a server that is being cleaned, nothing is taken from under the guest."""

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path

import pytest

from dedangle.core import times
from dedangle.lab import rows
from dedangle.lab.breakers import Breaker
from dedangle.lab.builders import IMAGE, Builder, Server
from dedangle.lab.client import wait_for
from dedangle.lab.cloud import Cloud
from shell import Dedangle, Done, finish, journal

SEED = int(os.environ.get("DEDANGLE_STORM_SEED", "1"))
ROUNDS = 20
# Nova answers 200 to a rescue, with its password.
ACCEPTED = (200, 202)
ACTIONS = {
    "start": {"os-start": None},
    "rescue": {"rescue": {"rescue_image_ref": IMAGE}},
    "resize": {"resize": {"flavorRef": "2"}},
}


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory, mariadb: None) -> Iterator[Cloud]:
    overrides = {
        "dedangle": {"cell_timeout": 20, "reboot_budget": 60, "grace_period": "0"},
        "DEFAULT": {"compute_driver": "fake.RescueBFVDriver"},
    }
    with Cloud(tmp_path_factory.mktemp("claims"), database="mariadb", nova_overrides=overrides) as cloud:
        Builder(cloud, "p2").server("control", 1)
        yield cloud


def test_a_server_is_changed_before_or_after_it_is_cleaned_and_never_meanwhile(bus: Cloud) -> None:
    chance = random.Random(SEED)
    builder, seen = Builder(bus), Counter[str]()
    with bus.faults.inject("cinder", method="GET", path=r"/v3/.*volumes/.*", delay=0.5):
        for number in range(ROUNDS):
            server = builder.server(f"round-{number}", 1)
            Breaker(builder).lose_attachment(server.id, server.volumes[1])
            builder.stop(server.id)
            action, delay = chance.choice(sorted(ACTIONS)), chance.uniform(0, 8)
            seen[told(bus, server, *clean_while(bus, server, action, delay))] += 1
            builder.delete(server.id)
    print(f"\nseed {SEED}: {dict(seen)}")
    assert seen["kept, and changed"] + seen["removed, and refused"] + seen["removed, and changed afterwards"] == ROUNDS
    # Both sides won at times, or the rounds tell nothing.
    assert seen["kept, and changed"]
    assert seen["removed, and refused"] + seen["removed, and changed afterwards"]


def clean_while(bus: Cloud, server: Server, action: str, delay: float) -> tuple[Done, int, datetime]:
    """Clean the server while its user does the action; return the outcome, nova-api's answer and its time."""
    process = Dedangle(bus).start("cleanup", server.id, "--execute", "--yes", "-f", "json")
    with ThreadPoolExecutor() as other:
        ended = other.submit(finish, process)
        time.sleep(delay)  # the seed's choice, not a wait for anything
        answer = Builder(bus).user.nova("POST", f"/servers/{server.id}/action", ACTIONS[action])
        answered = datetime.now(timezone.utc)
        done = ended.result()
    wait_for(f"server {server.id} idle", lambda: row(bus, server)["task_state"] is None, seconds=120)
    return done, answer.status, answered


def told(bus: Cloud, server: Server, done: Done, status: int, answered: datetime) -> str:
    """Return both outcomes, after asserting that the row is only gone if the outcome says so."""
    mapped = {each["volume_id"] for each in rows.snapshot(bus.home).mappings_of(server.id)}
    removed = "removed" in [each["outcome"] for each in done.findings]
    assert removed == (server.volumes[1] not in mapped), done.out
    if not removed:
        return "kept, and changed" if status in ACCEPTED else "kept, and refused"
    if status not in ACCEPTED:
        return "removed, and refused"
    # The outcome is written before the claim is given back, and nova-api answers after it has set the task_state.
    return "removed, and changed afterwards" if answered > removed_at(bus, server) else "removed under it"


def row(bus: Cloud, server: Server) -> rows.Row:
    return rows.snapshot(bus.home).servers[f"cell1/{server.id}"]


def removed_at(bus: Cloud, server: Server) -> datetime:
    """When the last outcome about the server was written down; the lab's services keep one journal."""
    lines = journal(Path(bus.home.state) / "dedangle")
    entries = {each["entry"] for each in lines if each.get("server_id") == server.id}
    return max(times.parse(each["at"]) for each in lines if each.get("entry") in entries and each["phase"] == "outcome")
