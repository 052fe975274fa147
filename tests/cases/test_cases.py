# SPDX-License-Identifier: Apache-2.0
"""Every case through every door, twice: found as it should be, removed what it should, touched nothing else."""

from __future__ import annotations

import dataclasses
import functools
import json
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from keystoneauth1 import adapter, identity
from keystoneauth1.session import Session

from cases.stage import DOORS, Case, Planted, Stage, cases
from cases.standing import Standing
from dedangle.core import packing
from dedangle.core.records import Volume
from dedangle.lab import rows
from dedangle.lab.cloud import Cloud
from dedangle.lab.home import CELLS
from dedangle.reconcile import sweep
from dedangle.reconcile.screen import Gathered, Screen
from dedangle.systems import ports
from dedangle.systems.cinder import api
from dedangle.systems.cinder.api import CinderApi
from dedangle.systems.cinder.database import CinderDatabase
from dedangle.systems.nova import fleet
from dedangle.systems.nova.cells import Cell
from shell import Dedangle, Done

CASES = cases()
# The lab's services have two cores between them: more builders only wait for each other.
BUILDERS = 4


@dataclass(frozen=True)
class Seen:
    """What dedangle sees of all cases at once, before a door is opened."""

    audit: Done
    read_alone: int
    """How many lists of the attachments of one server the audit requested from Cinder."""
    one_by_one: Done
    """The audit of the same servers, each looked at by itself."""
    screens: tuple[Screen, Screen]
    """What the bulk read told, of Cinder's API and of its database."""
    volumes: tuple[list[Volume], list[Volume]]
    """The volumes of the findings, as the bulk reads of both kept them or read them at once."""


@dataclass(frozen=True)
class Played:
    """One door, opened twice on all cases at once: both databases around each run."""

    planted: dict[str, Planted]
    snapshots: tuple[rows.Snapshot, rows.Snapshot, rows.Snapshot]
    runs: tuple[Done | None, ...]


class Play:
    """The cases of this run, built once; each door finds them as they were built, whatever ran before it."""

    def __init__(self, chosen: list[Case], cloud: Cloud, dedangle: Dedangle, directory: Path) -> None:
        self._chosen = chosen
        self._cloud = cloud
        self._dedangle = dedangle
        with ThreadPoolExecutor(BUILDERS) as pool:
            self._planted = list(pool.map(lambda case: case.build(Stage(cloud)), chosen))
        rows.settle(cloud.home)
        _settle_servers(cloud)
        self._standing = Standing(cloud, directory)
        self._played: dict[str, Played] = {}

    def __getitem__(self, door: str) -> Played:
        if door not in self._played:
            self._standing.restore()
            self._played[door] = self._play(door)
        return self._played[door]

    @functools.cached_property
    def seen(self) -> Seen:
        self._standing.restore()
        began = time.time()
        audit = self._dedangle("audit", "--all", "-f", "json")
        read_alone = sum("instance_id=" in each.query for each in self._cloud.access("cinder", began))
        found = sorted(_canonical(each["server_id"] for each in audit.findings))
        one_by_one = self._dedangle("audit", "--all", "-f", "json", *(f"--server={each}" for each in found))
        bulks = _bulks(self._cloud)
        by_api, by_database = (_screen(self._cloud, bulk) for bulk in bulks)
        ids = sorted({each["volume_id"] for each in audit.findings})
        of_api, of_database = (sorted(bulk.volumes(ids).rows, key=lambda each: each.id) for bulk in bulks)
        return Seen(audit, read_alone, one_by_one, (by_api, by_database), (of_api, of_database))

    def _play(self, door: str) -> Played:
        built = zip(self._chosen, self._planted, strict=True)
        planted = {case.name: planted for case, planted in built if door in case.doors}
        snapshots, runs = [rows.snapshot(self._cloud.home)], []
        for _ in range(2):
            runs.append(_open(door, planted, self._cloud, self._dedangle))
            snapshots.append(rows.snapshot(self._cloud.home))
        return Played(planted, (snapshots[0], snapshots[1], snapshots[2]), tuple(runs))


def _settle_servers(cloud: Cloud) -> None:
    """Set the times of servers and of their actions back by half an hour: servers that are younger are read alone."""
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    recently, before = now - timedelta(minutes=5), now - timedelta(minutes=30)
    for table, names in {
        "instances": ("launched_at", "deleted_at"),
        "instance_actions": ("start_time", "updated_at"),
    }.items():
        times = sa.table(table, *(sa.column(name, sa.DateTime) for name in names))
        for database in CELLS.values():
            with cloud.home.connect(database) as connection:
                for name in names:
                    column = times.c[name]
                    connection.execute(sa.update(times).where(column > recently).values({name: before}))


def _bulks(cloud: Cloud) -> tuple[ports.Bulk, ports.Bulk]:
    login = json.loads(cloud.clouds_yaml.read_text())["clouds"]["dedangle-admin"]
    session = Session(auth=identity.V3Password(**login["auth"]))
    client = adapter.Adapter(session, service_type="block-storage", default_microversion=api.MICROVERSION)
    return CinderApi(client, None), CinderDatabase(cloud.home.database_url("cinder"), 60)


def _screen(cloud: Cloud, cinder: ports.Bulk) -> Screen:
    # A pool would keep the files open until a collection closes them, in the middle of some other test's statement.
    engines = {
        name: sa.create_engine(cloud.home.database_url(database), poolclass=sa.NullPool)
        for name, database in CELLS.items()
    }
    cells = [Cell(name, functools.partial(engines.get, name), 60, name) for name in engines]
    with Gathered() as gathered:
        assert sweep.gather([*map(fleet.pages, cells), *cinder.bulk()], gathered) is None
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
def play(
    request: pytest.FixtureRequest, cloud: Cloud, dedangle: Dedangle, tmp_path_factory: pytest.TempPathFactory
) -> Play:
    return Play(_chosen(request.session.items), cloud, dedangle, tmp_path_factory.mktemp("standing"))


def _chosen(items: Iterable[pytest.Item]) -> list[Case]:
    """Which cases this run asks for, all where it asks only for what concerns a whole door."""
    parameters = [item.callspec.params for item in items if isinstance(item, pytest.Function) and _has_case(item)]
    asked = {each["case"].name for each in parameters}
    return [case for case in CASES if case.name in asked or not asked]


def _has_case(item: pytest.Function) -> bool:
    return item.module.__name__ == __name__ and "case" in getattr(item, "fixturenames", ())


@pytest.mark.parametrize(
    ("door", "case"),
    [(door, case) for door in DOORS for case in CASES if door in case.doors],
    ids=lambda each: getattr(each, "name", each),
)
def test_case(door: str, case: Case, play: Play) -> None:
    audit, played = play.seen.audit, play[door]
    planted = played.planted[case.name]
    found = [each for each in audit.findings if each["server_id"] in planted.servers]
    assert planted.finds == {(each["code"], each["volume_id"]) for each in found}
    assert case.dispositions == {each["disposition"] for each in found}

    before, once, twice = played.snapshots
    acts = door in case.removed_by
    assert (planted.mappings if acts else set()) == _gone(before.mappings, once.mappings, planted)
    assert (planted.attachments if acts else set()) == _gone(before.attachments, once.attachments, planted)
    assert _other_changes(before, once, planted) == []
    assert [each for each in rows.diff(once, twice) if _concerns(each, planted)] == []


def test_cinders_database_tells_what_its_api_tells(play: Play) -> None:
    by_api, by_database = play.seen.screens
    assert by_api == by_database
    of_api, of_database = play.seen.volumes
    assert of_api
    assert _sorted(of_api) == _sorted(of_database)
    found = {each["server_id"] for each in play.seen.audit.findings if each["server_id"]}
    assert found
    assert found <= set(by_database.suspects)


def test_suspects_judged_together_are_judged_as_one_by_one(play: Play) -> None:
    seen = play.seen
    servers = _canonical(each["server_id"] for each in seen.audit.findings)
    assert seen.one_by_one.code == 0, seen.one_by_one.err
    together = [each for each in seen.audit.findings if each["server_id"] in servers]
    assert _by_row(together) == _by_row(seen.one_by_one.findings)
    # Those with a misspelled id, or with a row in a status that the bulk read does not keep.
    assert seen.read_alone <= len(servers) / 10


def test_the_audit_came_to_its_end(play: Play) -> None:
    assert play.seen.audit.code == 0, play.seen.audit.err


@pytest.mark.parametrize("door", DOORS)
def test_every_run_came_to_its_end(door: str, play: Play) -> None:
    assert [run.err for run in play[door].runs if run is not None and run.code != 0] == []


def _canonical(ids: Iterable[str]) -> set[str]:
    """Those of the server ids that an operator can name: Cinder has others too."""
    return {each for each in ids if each and packing.unpack(packing.pack(each)) == each}


def _sorted(volumes: list[Volume]) -> list[Volume]:
    return [dataclasses.replace(each, hosts=tuple(sorted(each.hosts))) for each in volumes]


def _by_row(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(
        findings,
        key=lambda each: [str(each[name]) for name in ("server_id", "volume_id", "attachment_id", "bdm_uuid", "code")],
    )


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
