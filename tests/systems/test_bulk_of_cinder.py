# SPDX-License-Identifier: Apache-2.0
"""Cinder's API and its database tell the same in bulk, also where a page's last row goes while the list is read.

The API is played here: a real one cannot be made to lose a row between two pages.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from keystoneauth1.exceptions import ConnectTimeout

from dedangle.core import packing
from dedangle.reconcile import sweep
from dedangle.reconcile.screen import Gathered, Screen
from dedangle.systems import packed_rows, ports
from dedangle.systems.cinder import cut, lists
from dedangle.systems.cinder import database as cinder_database
from dedangle.systems.cinder.api import CinderApi
from dedangle.systems.cinder.database import CinderDatabase

STATUSES = ("attached", "reserved", "attaching", "detaching", "error_attaching", "error_detaching", "detached")
VOLUMES = [("in-use", None), ("in-use", "none"), ("in-use", "migrating"), ("available", None), ("error", "error")]


class Answer:
    def __init__(self, status_code: int, body: dict[str, Any]) -> None:
        self.status_code, self.text, self._body = status_code, json.dumps(body), body

    def json(self) -> dict[str, Any]:
        return self._body


class Api:
    """Pages through what a database holds, in the order of its ids or oldest first, as Cinder's API does."""

    def __init__(
        self,
        engine: sa.Engine,
        before: Callable[[dict[str, str]], None] = lambda _: None,
        order: Callable[[list[Any]], None] = lambda _: None,
    ) -> None:
        """before is called at each request, and order changes the order of what is listed."""
        self._engine, self._before, self._order = engine, before, order

    def request(self, path: str, method: str, *, params: dict[str, str], **_: object) -> Answer:
        assert method == "GET"
        self._before(params)
        what, make = {
            "/attachments": ("attachments", self._attachments),
            "/volumes/detail": ("volumes", self._volumes),
        }[urlsplit(path).path]
        rows = make(by_id=params["sort"] == "id:asc")
        start = 0
        if "marker" in params:
            ids = [each["id"] for each in rows]
            if params["marker"] not in ids:
                return Answer(404, {"itemNotFound": {"message": f"{params['marker']} could not be found."}})
            start = ids.index(params["marker"]) + 1
        return Answer(200, {what: rows[start : start + int(params["limit"])]})

    def _rows(self, table: str, by_id: bool) -> list[dict[str, Any]]:
        order = "id" if by_id else "rowid"
        with self._engine.connect() as connection:
            found = connection.execute(sa.text(f"SELECT * FROM {table} WHERE deleted = 0 ORDER BY {order}")).mappings()
            rows = [dict(each) for each in found]
        self._order(rows)
        return rows

    def _attachments(self, *, by_id: bool) -> list[dict[str, Any]]:
        return [
            {
                "id": each["id"],
                "instance": each["instance_uuid"],
                "volume_id": each["volume_id"],
                "status": each["attach_status"],
            }
            for each in self._rows("volume_attachment", by_id)
        ]

    def _volumes(self, *, by_id: bool) -> list[dict[str, Any]]:
        return [
            {**each, "os-vol-mig-status-attr:migstat": each["migration_status"], "metadata": {}, "attachments": []}
            for each in self._rows("volumes", by_id)
        ]


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database with every status of an attachment on every kind of volume, with and without a server."""
    monkeypatch.setattr(packed_rows, "PAGE", 10)
    monkeypatch.setattr(lists, "PAGE", 10)
    url = f"sqlite:///{tmp_path}/cinder.db"
    attachments, volumes = cinder_database._volume_attachment, cinder_database._volumes
    with sa.create_engine(url).begin() as connection:
        for table in (attachments, volumes):
            table.create(connection)
        for status, migration in VOLUMES:
            volume = {"id": str(uuid.uuid4()), "status": status, "migration_status": migration}
            connection.execute(volumes.insert().values(**volume, deleted=False))
            for attached in STATUSES:
                for server in (None, str(uuid.uuid4())):
                    row = {"instance_uuid": server, "volume_id": volume["id"], "attach_status": attached}
                    for deleted in (False, True):
                        connection.execute(attachments.insert().values(**row, id=str(uuid.uuid4()), deleted=deleted))
    return url


def screen(url: str, cinder: ports.Bulk) -> Screen:
    """Nova has a mapping of a live server for every attachment that has one."""
    with sa.create_engine(url).connect() as connection:
        select = "SELECT id, instance_uuid, volume_id FROM volume_attachment"
        mapped = connection.execute(sa.text(f"{select} WHERE deleted = 0 AND instance_uuid IS NOT NULL")).all()
    servers = [each.instance_uuid for each in mapped]
    with Gathered() as gathered:
        ids = packing.rows_of(((each,), b"") for each in servers)
        links = packing.rows_of((tuple(each), packing.status_byte("attached")) for each in mapped)
        gathered.take([packing.Servers("cell1", ids), packing.Links("cell1", links)])
        for pages in cinder.bulk():
            for answer in pages:
                assert answer.complete, answer.why
                gathered.take(answer.rows)
        found = gathered.screen()
    found.ownerless.sort(key=lambda each: each.key)
    return found


def test_both_tell_the_same(url: str) -> None:
    by_api = screen(url, CinderApi(Api(sa.create_engine(url)), None))
    by_database = screen(url, CinderDatabase(url, 60))
    assert by_api == by_database
    assert by_api.paired == 2
    assert len(by_api.suspects) == len(VOLUMES) * len(STATUSES) - 2
    assert len(by_api.ownerless) == len(VOLUMES) * len(STATUSES)


def test_parts_read_at_once_tell_the_same(url: str) -> None:
    with sa.create_engine(url).connect() as connection:
        rows = connection.execute(sa.text("SELECT id, volume_id FROM volume_attachment WHERE deleted = 0")).all()
    links = packing.rows_of(((row.id, str(uuid.uuid4()), row.volume_id), b"\0") for row in rows)
    asked: list[dict[str, str]] = []
    api = CinderApi(Api(sa.create_engine(url), lambda params: asked.append(dict(params))), None)
    with Gathered() as gathered:
        bulk = api.bulk(lambda: gathered.named, 4)
        # The page of Nova arrives after the bulk read of Cinder is prepared, and before its first page is requested.
        gathered.take([packing.Links("cell1", links)])
        pages = [each for listed in bulk for each in listed]
    assert all(each.complete for each in pages)
    packed = b"".join(row.rows.packed for each in pages for row in each.rows if isinstance(row, packing.Attachments))
    read = [packing.unpack(packed[at : at + packing.ID]) for at in range(0, len(packed), 49)]
    assert sorted(read) == sorted(row.id for row in rows)
    assert asked[0]["sort"] == "id:asc"
    assert len([each for each in asked if "marker" not in each]) == 2
    volumes = api.volumes({row.volume_id for row in rows}).rows
    assert {volume.id for volume in volumes} == {row.volume_id for row in rows}


def test_a_part_that_does_not_answer_leaves_the_whole_list_unread(url: str) -> None:
    with sa.create_engine(url).connect() as connection:
        rows = connection.execute(sa.text("SELECT id, volume_id FROM volume_attachment WHERE deleted = 0")).all()
    named = [packing.Named(attachment_id=row.id, volume_id=row.volume_id) for row in rows]
    silent = cut.cuts([each.attachment_id for each in named], 4)[1]

    def time_out(params: dict[str, str]) -> None:
        if params.get("marker") == silent:
            raise ConnectTimeout

    api = CinderApi(Api(sa.create_engine(url), time_out), None)
    with Gathered() as gathered:
        refusal = sweep.gather(api.bulk(lambda: named, 4), gathered)
    assert refusal
    assert "ConnectTimeout" in refusal.why


def test_a_list_whose_marker_goes_is_read_on_from_an_earlier_row(url: str) -> None:
    gone: list[str] = []

    def lose(params: dict[str, str]) -> None:
        if "marker" in params and not gone:
            gone.append(params["marker"])
            with engine.begin() as connection:
                connection.execute(sa.text("UPDATE volume_attachment SET deleted = 1 WHERE id = :id"), {"id": gone[0]})

    engine = sa.create_engine(url)
    api = CinderApi(Api(engine, lose), None)
    (pages,) = api.bulk()
    readings = list(pages)
    assert len(gone) == 1
    assert all(each.complete for each in readings)
    assert screen(url, api) == screen(url, CinderDatabase(url, 60))


@pytest.mark.parametrize("seed", range(20))
def test_what_stays_is_read_while_other_rows_come_and_go(url: str, seed: int) -> None:
    chance, engine = random.Random(seed), sa.create_engine(url)
    before = attached(engine)
    passing = chance.sample(sorted(before), len(before) // 2)

    def go_and_come(_: dict[str, str]) -> None:
        with engine.begin() as connection:
            if passing and chance.random() < 0.3:
                gone = {"id": passing.pop()}
                connection.execute(sa.text("UPDATE volume_attachment SET deleted = 1 WHERE id = :id"), gone)
            if chance.random() < 0.5:
                new = {"id": str(uuid.uuid4()), "volume_id": str(uuid.uuid4()), "deleted": False}
                connection.execute(cinder_database._volume_attachment.insert().values(attach_status="reserved", **new))

    answers = [each for pages in CinderApi(Api(engine, go_and_come), None).bulk() for each in pages]
    assert all(each.complete for each in answers), [each.why for each in answers]
    packed = b"".join(row.rows.packed for each in answers for row in each.rows if isinstance(row, packing.Attachments))
    read = {packing.unpack(packed[at : at + packing.ID]) for at in range(0, len(packed), 49)}
    assert before & attached(engine) <= read


@pytest.mark.parametrize("seed", range(20))
def test_a_list_in_changing_order_makes_no_pair_whole_that_is_not(url: str, seed: int) -> None:
    whole = screen(url, CinderDatabase(url, 60))
    shuffled = screen(url, CinderApi(Api(sa.create_engine(url), order=random.Random(seed).shuffle), None))
    # What such a list leaves out is looked at once more, server by server, before anything is said of it.
    assert set(whole.suspects) <= set(shuffled.suspects)
    assert shuffled.paired <= whole.paired


def attached(engine: sa.Engine) -> set[str]:
    with engine.connect() as connection:
        return set(connection.execute(sa.text("SELECT id FROM volume_attachment WHERE deleted = 0")).scalars())


def test_a_list_that_never_holds_still_is_not_read(url: str) -> None:
    def lose(params: dict[str, str]) -> None:
        params.update({"marker": "gone"} if "marker" in params else {})

    (pages,) = CinderApi(Api(sa.create_engine(url), lose), None).bulk()
    unread = [each.why for each in pages if not each.complete]
    assert unread[0] == "Cinder's list of attachments changed faster than it could be read"
