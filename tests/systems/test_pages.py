# SPDX-License-Identifier: Apache-2.0
"""The bulk reads of the databases, on SQLite, over more rows than a page has."""

import threading
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from dedangle.cli import configuration
from dedangle.cli.errors import UsageError
from dedangle.core import packing
from dedangle.systems import packed_rows
from dedangle.systems.cinder import database as cinder_database
from dedangle.systems.cinder.database import CinderDatabase
from dedangle.systems.nova import fleet, schema
from dedangle.systems.nova.cells import Cell

SERVER, VOLUME = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))


@pytest.fixture(autouse=True)
def _short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_rows, "PAGE", 3)
    monkeypatch.setattr(packed_rows, "NUMBERS", 4)


@pytest.mark.parametrize("count", [0, 1, 3, 7])
def test_every_live_mapping_and_server_comes_once(tmp_path: Path, count: int) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/nova.db")
    mappings, servers = schema.block_device_mapping, schema.instances
    ids = [str(uuid.uuid4()) for _ in range(count)]
    with engine.begin() as connection:
        for table in (mappings, servers):
            table.create(connection)
        live = {"instance_uuid": SERVER, "volume_id": VOLUME, "destination_type": "volume", "deleted": 0}
        for number, ident in enumerate(ids):
            connection.execute(mappings.insert().values(id=5 * number + 1, attachment_id=ident, **live))
            connection.execute(mappings.insert().values({**live, "id": 5 * number + 2, "deleted": 5 * number + 2}))
            connection.execute(mappings.insert().values({**live, "id": 5 * number + 3, "destination_type": "local"}))
            connection.execute(mappings.insert().values({**live, "id": 5 * number + 4, "volume_id": None}))
            connection.execute(mappings.insert().values(id=5 * number + 5, attachment_id=None, **live))
            connection.execute(servers.insert().values(id=2 * number + 1, uuid=ident, deleted=0))
            gone = {"id": 2 * number + 2, "deleted": 2 * number + 2}
            connection.execute(servers.insert().values(uuid=str(uuid.uuid4()), **gone))
    links, found = bytearray(), bytearray()
    for answer in fleet.pages(Cell("Nova's cell1", lambda: engine, 60, "cell1")):
        assert answer.complete, answer.why
        for page in answer.rows:
            if isinstance(page, packing.Links):
                links += page.rows.packed
            if isinstance(page, packing.Servers):
                found += page.rows.packed
    rest = packing.pack(SERVER) + packing.pack(VOLUME) + packing.status_byte("attached")
    expected = [packing.pack(ident) + rest for ident in [*ids, *([None] * count)]]
    assert sorted(links[start : start + 49] for start in range(0, len(links), 49)) == sorted(expected)
    assert found == b"".join(map(packing.pack, sorted(ids)))


def test_live_attachments_and_volumes_quietly_in_use_come(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cinder.db"
    attachments, volumes = cinder_database._volume_attachment, cinder_database._volumes
    ids = [str(uuid.uuid4()) for _ in range(7)]
    live = {"deleted": False, "volume_id": VOLUME}
    states = [("in-use", None), ("in-use", "success"), ("in-use", "migrating"), ("available", None), ("detaching", "")]
    with sa.create_engine(url).begin() as connection:
        for table in (attachments, volumes):
            table.create(connection)
        for ident in ids:
            connection.execute(attachments.insert().values(id=ident, attach_status="reserved", **live))
        connection.execute(
            attachments.insert().values(id="gone", attach_status="attached", **{**live, "deleted": True})
        )
        for ident, (status, migration) in zip(ids, states, strict=False):
            row = {"id": ident, "status": status, "migration_status": migration, "deleted": False}
            connection.execute(volumes.insert().values(row))
    (pages,) = CinderDatabase(url, 60).bulk()
    rows: dict[type, bytes] = {packing.Attachments: b"", packing.QuietVolumes: b""}
    for answer in pages:
        assert answer.complete, answer.why
        for page in answer.rows:
            assert isinstance(page, packing.Attachments | packing.QuietVolumes)
            rows[type(page)] += page.rows.packed
    reserved = packing.status_byte("reserved")
    expected = [packing.pack(ident) + packing.NO_ID + packing.pack(VOLUME) + reserved for ident in sorted(ids)]
    assert rows[packing.Attachments] == b"".join(expected)
    assert rows[packing.QuietVolumes] == b"".join(map(packing.pack, sorted(ids[:2])))


def test_what_cannot_be_read_is_said_without_the_url(tmp_path: Path) -> None:
    (pages,) = CinderDatabase(f"sqlite:///{tmp_path}/secret/cinder.db", 60).bulk()
    answer = next(pages)
    assert not answer.complete
    assert answer.why == "Cinder's database could not be read (OperationalError)"


@pytest.mark.parametrize("url", ["secret", "mysql+pymysql://u:secret@host:secret/cinder", "nothing+secret://host"])
def test_a_url_that_is_none_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(UsageError) as refused:
        configuration.bulk_of_cinder(SimpleNamespace(cinder_database=url, cell_timeout=60))
    assert "cinder_database cannot be used" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_numbers_that_nobody_has_are_passed_over_in_one_step(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/nova.db")
    with engine.begin() as connection:
        for table in (schema.block_device_mapping, schema.instances):
            table.create(connection)
        for number in (2, 1_000_000, 1_000_003):
            row = {"instance_uuid": SERVER, "volume_id": VOLUME, "destination_type": "volume", "deleted": 0}
            connection.execute(schema.block_device_mapping.insert().values(id=number, **row))
    asked: list[str] = []
    sa.event.listen(engine, "before_cursor_execute", lambda *event: asked.append(event[2]))
    answers = list(fleet.pages(Cell("Nova's cell1", lambda: engine, 60, "cell1")))
    assert all(each.complete for each in answers)
    sizes = [len(page.rows.packed) // 49 for each in answers for page in each.rows if isinstance(page, packing.Links)]
    assert sizes == [1, 2]
    assert len([each for each in asked if "FROM block_device_mapping" in each]) == 2


@pytest.mark.parametrize(("times", "complete"), [(1, True), (2, False)])
def test_a_page_is_asked_for_once_more_over_a_connection_of_its_own(tmp_path: Path, times: int, complete: bool) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/nova.db")
    with engine.begin() as connection:
        for table in (schema.block_device_mapping, schema.instances):
            table.create(connection)
        rows = [{"id": number, "uuid": str(uuid.uuid4()), "deleted": 0} for number in range(1, 8)]
        connection.execute(schema.instances.insert(), rows)
    opened: list[object] = []
    failing = [times]

    def lose(connection: sa.Connection, *_: object) -> None:
        opened.append(connection.connection.driver_connection)
        # The first statement of the second page of servers. The page of mappings comes first and is empty.
        if len(opened) >= 3 and failing[0]:
            failing[0] -= 1
            connection.invalidate()
            raise sa.exc.OperationalError("", {}, Exception("server has gone away"))

    sa.event.listen(engine, "before_cursor_execute", lose)
    answers = list(fleet.pages(Cell("Nova's cell1", lambda: engine, 60, "cell1")))
    assert all(each.complete for each in answers) == complete
    found = [
        packing.unpack(page.rows.packed[at : at + 16])
        for each in answers
        for page in each.rows
        if isinstance(page, packing.Servers)
        for at in range(0, len(page.rows.packed), 16)
    ]
    ids = sorted(each["uuid"] for each in rows)
    assert found == (ids if complete else ids[:3])
    assert len(set(map(id, opened))) > 1


def test_the_thread_that_reads_ahead_ends_with_its_reader(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/nova.db")
    with engine.begin() as connection:
        schema.block_device_mapping.create(connection)
        row = {"instance_uuid": SERVER, "volume_id": VOLUME, "destination_type": "volume", "deleted": 0}
        rows = [{"id": number, **row} for number in range(1, 100)]
        connection.execute(schema.block_device_mapping.insert(), rows)
    pages = fleet.pages(Cell("Nova's cell1", lambda: engine, 60, "left"))
    assert next(pages).complete
    (reader,) = [each for each in threading.enumerate() if each.name == "dedangle Nova's cell1"]
    pages.close()
    reader.join(30)
    assert not reader.is_alive()
