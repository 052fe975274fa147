# SPDX-License-Identifier: Apache-2.0
"""Every case through every door, twice: found as it should be, removed what it should, touched nothing else."""

from __future__ import annotations

import dataclasses
import functools
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import sqlalchemy as sa
from keystoneauth1 import adapter, identity
from keystoneauth1.session import Session

from cases.stage import DOORS, Case, Planted, Stage, cases
from dedangle.lab import rows
from dedangle.lab.cloud import Cloud
from dedangle.lab.home import CELLS
from dedangle.reconcile import sweep
from dedangle.reconcile.screen import Gathered, Screen
from dedangle.systems import cinder_api, nova_fleet, ports
from dedangle.systems.cinder_api import CinderApi
from dedangle.systems.cinder_database import CinderDatabase
from dedangle.systems.nova_cells import Cell
from shell import Dedangle, Done

CASES = cases()
# The lab's services have two cores between them: more builders only wait for each other.
BUILDERS = 4


@dataclass(frozen=True)
class Played:
    """One door, opened twice on all cases at once: what the audit said, and both databases around each run."""

    planted: dict[str, Planted]
    audit: Done
    snapshots: tuple[rows.Snapshot, rows.Snapshot, rows.Snapshot]
    runs: tuple[Done | None, ...]
    screens: tuple[Screen, Screen]
    """What the bulk read told before the door was opened, of Cinder's API and of its database."""


def _play(door: str, standing: dict[str, Planted], cloud: Cloud, dedangle: Dedangle) -> Played:
    """Build what does not stand yet, and open the door; what the door leaves alone stands for the next one."""
    chosen = [case for case in CASES if door in case.doors]
    missing = [case for case in chosen if case.name not in standing]
    with ThreadPoolExecutor(BUILDERS) as pool:
        standing.update(
            zip((case.name for case in missing), pool.map(lambda case: case.build(Stage(cloud)), missing), strict=True)
        )
    planted = {case.name: standing[case.name] for case in chosen}
    rows.settle(cloud.home)
    audit = dedangle("audit", "--all", "-f", "json")
    by_api, by_database = (_screen(cloud, bulk) for bulk in _bulks(cloud))
    snapshots, runs = [rows.snapshot(cloud.home)], []
    for _ in range(2):
        runs.append(_open(door, planted, cloud, dedangle))
        snapshots.append(rows.snapshot(cloud.home))
    for case in chosen:
        if door in case.removed_by:
            del standing[case.name]
    return Played(planted, audit, (snapshots[0], snapshots[1], snapshots[2]), tuple(runs), (by_api, by_database))


def _bulks(cloud: Cloud) -> tuple[ports.Bulk, ports.Bulk]:
    login = json.loads(cloud.clouds_yaml.read_text())["clouds"]["dedangle-admin"]
    session = Session(auth=identity.V3Password(**login["auth"]))
    client = adapter.Adapter(session, service_type="block-storage", default_microversion=cinder_api.MICROVERSION)
    return CinderApi(client, None), CinderDatabase(cloud.home.database_url("cinder"), 60)


def _screen(cloud: Cloud, cinder: ports.Bulk) -> Screen:
    # A pool would keep the files open until a collection closes them, in the middle of some other test's statement.
    engines = {
        name: sa.create_engine(cloud.home.database_url(database), poolclass=sa.NullPool)
        for name, database in CELLS.items()
    }
    cells = [Cell(name, functools.partial(engines.get, name), 60, name) for name in engines]
    with Gathered() as gathered:
        assert sweep.gather([*map(nova_fleet.pages, cells), *cinder.bulk()], gathered) == ""
        screen = gathered.screen()
    return dataclasses.replace(screen, ownerless=sorted(screen.ownerless, key=lambda each: each.key))


def _open(door: str, planted: dict[str, Planted], cloud: Cloud, dedangle: Dedangle) -> Done | None:
    execute = ("--execute", "--yes", "--max-removals", "1000", "-f", "json")
    if door == "sweep":
        return dedangle("sweep", *execute)
    servers = sorted({server for each in planted.values() for server in each.servers})
    if door == "command":
        return dedangle("cleanup", *servers, "--no-host", *execute)
    with ThreadPoolExecutor(BUILDERS) as pool:
        for action in pool.map(lambda server: Stage(cloud).user.reboot(server), servers):
            assert {"Success"} == {event["result"] for event in action["events"]}
    return None


@pytest.fixture(scope="module")
def standing() -> dict[str, Planted]:
    return {}


@pytest.fixture(scope="module", params=DOORS)
def played(
    request: pytest.FixtureRequest, standing: dict[str, Planted], cloud: Cloud, dedangle: Dedangle
) -> tuple[str, Played]:
    return request.param, _play(request.param, standing, cloud, dedangle)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case, played: tuple[str, Played]) -> None:
    door, play = played
    if door not in case.doors:
        assert case.name not in play.planted
        return
    planted = play.planted[case.name]
    found = [each for each in play.audit.findings if each["server_id"] in planted.servers]
    assert planted.finds == {(each["code"], each["volume_id"]) for each in found}
    assert case.dispositions == {each["disposition"] for each in found}

    before, once, twice = play.snapshots
    acts = door in case.removed_by
    assert (planted.mappings if acts else set()) == _gone(before.mappings, once.mappings, planted)
    assert (planted.attachments if acts else set()) == _gone(before.attachments, once.attachments, planted)
    assert _other_changes(before, once, planted) == []
    assert [each for each in rows.diff(once, twice) if _concerns(each, planted)] == []


def test_cinders_database_tells_what_its_api_tells(played: tuple[str, Played]) -> None:
    _, play = played
    by_api, by_database = play.screens
    assert by_api == by_database
    found = {each["server_id"] for each in play.audit.findings if each["server_id"]}
    assert found
    assert found <= set(by_database.suspects)


def test_every_run_came_to_its_end(played: tuple[str, Played]) -> None:
    _, play = played
    assert [run.err for run in play.runs if run is not None and run.code != 0] == []
    assert play.audit.code == 0


def _gone(before: object, after: object, planted: Planted) -> set[str]:
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    return {
        key
        for key, row in before.items()
        if row["instance_uuid"] in planted.servers and not row["deleted"] and after[key]["deleted"]
    }


def _concerns(change: rows.Change, planted: Planted) -> bool:
    row = change.after or change.before or {}
    return bool({row.get("instance_uuid"), row.get("uuid")} & set(planted.servers))


def _other_changes(before: rows.Snapshot, after: rows.Snapshot, planted: Planted) -> list[rows.Change]:
    """What changed of the case's rows beyond what is to go; a reboot may switch its server on."""
    allowed = planted.mappings | planted.attachments
    return [
        each
        for each in rows.diff(before, after)
        if _concerns(each, planted)
        and each.key not in allowed
        and not (each.table == "servers" and set(each.columns) <= {"power_state", "vm_state"})
    ]
