# SPDX-License-Identifier: Apache-2.0
"""Users work and the sweep never stops, while nodes of the cluster die, hang and come back."""

from __future__ import annotations

import os
import random
import re
import threading
from collections import Counter
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from cluster.nodes import Cluster
from dedangle.lab import packages, rows
from dedangle.lab.client import wait_for
from dedangle.lab.cloud import Cloud
from dedangle.lab.errors import LabError
from interleavings.storm import Run, Storm, wrong
from interleavings.test_interleavings import SEED, entries, lost_and_left, tell
from shell import Dedangle

OPERATIONS = int(os.environ.get("DEDANGLE_STORM_OPERATIONS", "300"))
# Each of the three ways twice at least, however few the operations are.
PLANT_EVERY = max(1, min(10, OPERATIONS // 6))
USERS = 8


@pytest.fixture
def stormy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    try:
        packages.ensure_installed(packages.GALERA)
    except LabError as missing:
        pytest.skip(str(missing))
    overrides = {
        "dedangle": {"grace_period": "0", "max_removals": "1000"},
        "placement": {"connect_retries": "3"},
        "DEFAULT": {"compute_driver": "fake.RescueBFVDriver"},
    }
    home = tmp_path_factory.mktemp("stormy")
    with Cloud(home, database="galera", nova_overrides=overrides, progress=print) as cloud:
        yield cloud


class Failures(threading.Thread):
    """Kills or freezes one node after the other until `stop`.

    Nova's own services answer 500 while the node that takes the writes is lost. So users rest then, and the sweep does
    not; while another node is lost everybody works, and every commit hangs for some seconds.
    """

    def __init__(self, cluster: Cluster, storm: Storm, seed: str) -> None:
        super().__init__(name="failures", daemon=True)
        self._cluster, self._storm = cluster, storm
        self._random = random.Random(seed)
        self._over = threading.Event()
        self.done: Counter[str] = Counter()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._over.wait(self._random.uniform(5, 15)):
                self._fail()
        except BaseException as error:  # noqa: BLE001 -- raised again by stop
            self.error = error

    def stop(self) -> None:
        self._over.set()
        self.join()
        self._cluster.make_whole()
        if self.error:
            raise self.error

    def _fail(self) -> None:
        number, how = self._random.choice((1, 2, 3)), self._random.choice(("kill", "freeze"))
        if number == 1:
            with self._storm.paused():
                # Nova writes the end of an event after all that a user waits for.
                wait_for("the end of every event", lambda: not unfinished_events(self._cluster.cloud))
                self._lose(number, how)
                # The services' pools still use the backup that took the writes, and it may be the next to fail.
                for backup in (2, 3):
                    self._cluster.close_sessions(backup)
        else:
            self._lose(number, how)
        self.done[f"{how} the {'writer' if number == 1 else 'backup'}"] += 1

    def _lose(self, number: int, how: str) -> None:
        if how == "kill":
            self._cluster.kill(number)
        else:
            self._cluster.freeze(number)
        # Longer than the others wait before they go on without it.
        self._over.wait(self._random.uniform(8, 15))
        self._cluster.make_whole()


@pytest.mark.thorough
def test_nothing_that_is_used_is_removed_while_nodes_fail(stormy: Cloud) -> None:
    cluster = Cluster(stormy)
    cluster.prepare()
    storm = Storm(stormy, SEED, USERS)
    storm.settle()
    failures = Failures(cluster, storm, f"{SEED}/failures")
    failures.start()
    try:
        storm.rage(OPERATIONS, PLANT_EVERY, failures.stop)
    finally:
        failures.stop()
        tell(storm, stormy)
        print(f"failures {dict(failures.done)}")
    # The last sweep of the storm may have met a failure too.
    calm = Dedangle(stormy)("sweep", "--execute", "--yes", "--max-removals", "1000", "-f", "json")
    assert calm.code == 0, calm.err

    now = rows.snapshot(stormy.home)
    assert [wrong(now, machine) for user in storm.users for machine in user.machines if wrong(now, machine)] == []
    assert lost_and_left(now) == (set(), set())
    assert failed_events(stormy) == []
    planted = storm.planted.attachments
    assert [each for each in entries(stormy) if each["attachment_id"] not in planted] == []
    assert {each for each in planted if not now.attachments[each]["deleted"]} == set()
    assert [unexplained(run) for run in storm.sweeper.runs if unexplained(run)] == []


def failed_events(cloud: Cloud) -> list[tuple[object, ...]]:
    """What of the users' operations went wrong on a host; dedangle's own actions may fail with a node."""
    query = (
        "SELECT a.instance_uuid, a.action, e.event, e.details FROM instance_actions_events e "
        "JOIN instance_actions a ON a.id = e.action_id "
        "WHERE (e.result IS NULL OR e.result != 'Success') AND a.action != 'dedangle_cleanup'"
    )
    with cloud.home.connect("nova_cell1") as nova:
        return [tuple(row) for row in nova.execute(sa.text(query))]


def unfinished_events(cloud: Cloud) -> int:
    query = (
        "SELECT COUNT(*) FROM instance_actions_events e JOIN instance_actions a ON a.id = e.action_id "
        "WHERE e.finish_time IS NULL AND a.action != 'dedangle_cleanup'"
    )
    with cloud.home.connect("nova_cell1") as nova:
        return int(nova.execute(sa.text(query)).scalar_one())


def unexplained(run: Run) -> str:
    """A sweep ends with 0, or with 5 and says what it did not read; it never ends by a traceback."""
    told = [line for line in run.err.splitlines() if re.search(r"\b(Not checked: |Not removed|Server )", line)]
    tried = [each for each in run.outcomes if each["outcome"] in ("failed", "unknown", "refused")]
    if run.code == 0 or (run.code == 5 and "Traceback" not in run.err and (told or tried or run.err)):
        return ""
    return f"exit {run.code}: {run.err}"
