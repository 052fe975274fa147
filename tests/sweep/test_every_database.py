# SPDX-License-Identifier: Apache-2.0
"""The bulk read finds each planted state, and no other, on every database that clouds have, in their own schemas."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from benchmarks.fleet.databases import MariaDb, PostgreSql, Server, Sqlite, connection, make_schemas
from benchmarks.fleet.rows import fill, ident, plant, server_of
from benchmarks.fleet.screen import read

from dedangle.core.records import Attachment, Reading
from dedangle.lab import packages
from dedangle.lab.errors import LabError
from dedangle.systems import packed_rows
from dedangle.systems.cinder.database import CinderDatabase
from dedangle.systems.nova import fleet as nova_fleet
from dedangle.systems.nova import links
from dedangle.systems.nova.actions import InstanceActions
from dedangle.systems.nova.cells import Cell
from dedangle.systems.nova.database import NovaDatabase

PAIRS, DEAD = 60, 3
_MINUTE = timedelta(minutes=1)
POSTGRESQL = packages.Packages(("postgresql",), ("pg_createcluster", "psql"))
# A page holds a few rows; one holds all.
PAGES = ((1, 1), (3, 7), (packed_rows.PAGE, packed_rows.NUMBERS))


@dataclasses.dataclass(frozen=True)
class Fleet:
    nova: sa.Engine
    cinder_url: str
    spoilt: set[str]


@pytest.fixture(scope="module", params=["mariadb", "postgresql", "sqlite"])
def fleet(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    # Below /tmp itself: PostgreSQL does not run as root, and no other user may look into pytest's own directories.
    with tempfile.TemporaryDirectory() as directory:
        server = _server(request, Path(directory))
        with server.running():
            make_schemas(server, Path(directory))
            with connection(server.url("nova")) as nova, connection(server.url("cinder")) as cinder:
                fill(nova, cinder, PAIRS, DEAD)
                spoilt = plant(nova, cinder, PAIRS)
            yield Fleet(sa.create_engine(server.url("nova"), poolclass=sa.NullPool), server.url("cinder"), spoilt)


def _server(request: pytest.FixtureRequest, path: Path) -> Server:
    if request.param == "mariadb":
        request.getfixturevalue("mariadb")
        return MariaDb(path, "64M", "pymysql")
    if request.param == "postgresql":
        try:
            packages.ensure_installed(POSTGRESQL)
        except LabError as missing:
            pytest.skip(str(missing))
        return PostgreSql(path, "64M")
    return Sqlite(path)


@pytest.mark.parametrize("pages", PAGES)
def test_each_planted_state_is_found_and_none_invented(
    fleet: Fleet, pages: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, size in zip(("PAGE", "NUMBERS"), pages, strict=True):
        monkeypatch.setattr(packed_rows, name, size)
    unread, screen = read(fleet.nova, fleet.cinder_url)
    assert unread is None
    assert set(screen.suspects) == fleet.spoilt
    # One of the ten ways to break a pair is an attachment of no server.
    assert len(screen.ownerless) == 1
    whole = [pair for pair in range(1, PAIRS + 1) if server_of(pair) not in fleet.spoilt]
    assert screen.paired == len(whole)


def test_mappings_of_a_project_are_counted(fleet: Fleet) -> None:
    cell = Cell("Nova's cell1", lambda: fleet.nova, 60, "cell1")
    pair = next(each for each in range(2, PAIRS, 2) if server_of(each) not in fleet.spoilt)
    project_id = ident("p", pair).replace("-", "")
    assert nova_fleet.mappings_of_project(cell, project_id, lambda _: True, 1000) == Reading((2,))
    assert nova_fleet.mappings_of_project(cell, project_id, lambda _: False, 1000) == Reading((0,))


def test_neighbours_of_many_attachments_are_found(fleet: Fleet) -> None:
    engine = sa.create_engine(fleet.cinder_url)
    with engine.connect() as connection:
        live = connection.execute(
            sa.text("SELECT id, created_at FROM volume_attachment WHERE deleted = :no"), {"no": False}
        )
        ids = [each for each, _ in sorted(live, key=lambda row: (str(row.created_at), row.id))]
    engine.dispose()
    chosen = [ids[each] for each in (0, 1, 20, 21, len(ids) - 1)]
    found = CinderDatabase(fleet.cinder_url, 60).neighbours_of_many(chosen, 4)
    assert set(found) == set(chosen)
    for own, near in found.items():
        at = ids.index(own)
        assert [each.id for each in near.younger] == ids[at + 1 : at + 5]
        assert [each.id for each in near.older] == ids[max(at - 4, 0) : at][::-1]


def test_neighbours_of_a_mapping_are_found(fleet: Fleet) -> None:
    # Pair k is mapping 4k - 3, and every fourth row is alive; the ten broken pairs are not all of the checked ones.
    cell, number = Cell("Nova's cell1", lambda: fleet.nova, 60, "cell1"), 4 * 29 + 1
    answer = cell.ask(lambda connection: links.neighbours(connection, "cell1", [(server_of(30), number)]))()
    assert answer.complete, answer.why
    with fleet.nova.connect() as connection:
        live = connection.execute(
            sa.text(
                "SELECT bdm.id FROM block_device_mapping bdm JOIN instances ON instances.uuid = instance_uuid "
                "WHERE bdm.deleted = 0 AND instances.deleted = 0 AND attachment_id IS NOT NULL "
                "AND instance_uuid != :own"
            ),
            {"own": server_of(30)},
        ).scalars()
        ids = sorted(live)
    expected = [each for each in ids if each < number][-4:] + [each for each in ids if each > number][:4]
    assert len(expected) == 8
    assert sorted(link.number for row in answer.rows for _, link in row) == expected


def test_attachments_that_nova_has_ever_named_are_known(fleet: Fleet) -> None:
    cell = Cell("Nova's cell1", lambda: fleet.nova, 60, "cell1")
    archived = ("00000000-aaaa-4000-8000-000000000001", "00000000-bbbb-4000-8000-000000000001")
    with fleet.nova.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO shadow_block_device_mapping (id, volume_id, attachment_id, deleted) "
                "VALUES (9999, :v, :a, 9999)"
            ),
            {"v": archived[0], "a": archived[1]},
        )
    nova = NovaDatabase(
        cell, [cell], actions=InstanceActions([cell], run_id="run", clock=_now), service_down_time=_MINUTE, clock=_now
    )
    # A dead row of a pair that is whole, a live one, an archived one, and one that nobody names.
    pair = next(each for each in range(2, PAIRS, 2) if server_of(each) not in fleet.spoilt)
    known = [
        (ident("v", 4 * pair), ident("a", 4 * pair)),
        (ident("v", 4 * pair + 1), ident("a", 4 * pair + 1)),
        archived,
    ]
    asked = [
        Attachment(id=attachment, server_id=None, volume_id=volume, status="attached")
        for volume, attachment in (*known, (ident("v", 4 * pair), ident("a", 999999)))
    ]
    reading = nova.knows(asked)
    assert reading.complete, reading.why
    assert sorted(reading.rows) == sorted(attachment for _, attachment in known)


def test_times_of_mappings_and_failed_live_migrations_are_read(fleet: Fleet) -> None:
    cell = Cell("Nova's cell1", lambda: fleet.nova, 60, "cell1")
    pair = next(each for each in range(2, PAIRS, 2) if server_of(each) not in fleet.spoilt)
    server, moment = server_of(pair), datetime(2026, 2, 3, 4, 5, 6)
    with fleet.nova.begin() as connection:
        values = {"s": server, "t": moment.isoformat(" ")}
        connection.execute(
            sa.text("UPDATE block_device_mapping SET updated_at = :t WHERE instance_uuid = :s AND deleted = 0"), values
        )
        connection.execute(
            sa.text(
                "INSERT INTO migrations (uuid, instance_uuid, migration_type, status, created_at, deleted) "
                "VALUES ('00000000-cccc-4000-8000-000000000001', :s, 'live-migration', 'error', :t, 0)"
            ),
            values,
        )
    nova = NovaDatabase(
        cell, [cell], actions=InstanceActions([cell], run_id="run", clock=_now), service_down_time=_MINUTE, clock=_now
    )
    view = nova.observe(server)
    assert {each.changed_at for each in view.mappings} == {moment.replace(tzinfo=timezone.utc)}
    assert view.live_migration_failed_at == moment.replace(tzinfo=timezone.utc)


def _now() -> datetime:
    return datetime(2026, 11, 25, 12, 0, tzinfo=timezone.utc)
