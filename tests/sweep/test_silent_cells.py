# SPDX-License-Identifier: Apache-2.0
"""One cell of several is silent: the others are swept, and of its own servers nothing is touched or forgotten."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cases.stage import Stage
from dedangle.lab import rows
from dedangle.lab.builders import Server
from dedangle.lab.cloud import Cloud
from shell import Configure, Dedangle, Done
from sweep.cells import Cell

EXECUTE = ("sweep", "--execute", "--yes", "-f", "json")
NAMES = ("cell1", "cell2", "cell3")


@dataclass(frozen=True)
class Planted:
    """What is broken in one cell."""

    reserved: Server
    attachment: str
    revived: Server


@pytest.fixture(scope="module")
def stage(cloud: Cloud) -> Stage:
    # Another project's server, which the credentials must see.
    Stage(cloud, "p2").server()
    return Stage(cloud)


@pytest.fixture(scope="module")
def cells(stage: Stage) -> dict[str, Cell]:
    made = {name: Cell(stage.cloud, name) for name in NAMES}
    for name in ("cell2", "cell3"):
        made[name].create()
    return made


@pytest.fixture
def planted(stage: Stage, cells: dict[str, Cell], dedangle: Dedangle) -> Iterator[dict[str, Planted]]:
    """In each cell a server with an attachment that was never used, and one that was deleted but for a mapping."""

    def plant(cell: Cell) -> Planted:
        reserved, revived = stage.server(0), stage.server(0)
        attachment = stage.breaks.reserve_attachment(reserved.id, stage.user.volume())
        stage.breaks.mapping_of_deleted_server(revived.id)
        if cell.name != "cell1":
            for each in (reserved, revived):
                cell.take(each)
        return Planted(reserved, attachment, revived)

    yield {name: plant(cell) for name, cell in cells.items()}
    assert dedangle(*EXECUTE).code == 0


@contextlib.contextmanager
def silent(cell: Cell, how: str) -> Iterator[None]:
    if how == "gone":
        with cell.gone():
            yield
    else:
        with cell.hanging() as taken:
            yield
            # The first question of each of two runs took cell_timeout, and none was asked after it.
            assert len(taken) == 2


def removed(done: Done) -> set[tuple[str, str]]:
    return {(each["code"], each["server_id"]) for each in done.findings if each["outcome"] == "removed"}


def expected(planted: dict[str, Planted], *names: str) -> set[tuple[str, str]]:
    found = {("attachment-never-used", planted[name].reserved.id) for name in names}
    return found | {("mapping-of-deleted-server", planted[name].revived.id) for name in names}


@pytest.mark.parametrize("how", [pytest.param("gone", marks=pytest.mark.thorough), "hanging"])
def test_the_cells_that_answer_are_swept(
    cloud: Cloud,
    dedangle: Dedangle,
    cells: dict[str, Cell],
    planted: dict[str, Planted],
    configure: Configure,
    tmp_path: Path,
    how: str,
) -> None:
    report = tmp_path / "report.json"
    options = (*configure(cell_timeout=6), "--report", str(report))
    before, mapped = rows.snapshot(cloud.home), cells["cell3"].live_mappings()
    with silent(cells["cell3"], how):
        first = dedangle(*EXECUTE, *options)
        not_checked = json.loads(report.read_text())["not_checked"]
        again = dedangle(*EXECUTE, *options)
    assert (first.code, again.code) == (5, 5), first.err
    assert removed(first) == expected(planted, "cell1", "cell2"), first.err
    assert removed(again) == set()
    why = "did not answer in 6 s" if how == "hanging" else "could not be read (DBNonExistentDatabase)"
    cell, servers = not_checked
    assert cell == f"every server of cell3: Nova's cell3 {why}"
    assert servers.endswith(" servers with attachments that are in none of the cells that answered")
    assert "secret" not in first.err + first.out
    changed = {each.key for each in rows.diff(before, rows.snapshot(cloud.home)) if each.table == "attachments"}
    assert changed == {planted["cell1"].attachment, planted["cell2"].attachment}
    assert cells["cell3"].live_mappings() == mapped

    whole = dedangle(*EXECUTE, *options)
    assert (whole.code, removed(whole)) == (0, expected(planted, "cell3")), whole.err


def test_what_was_seen_in_a_silent_cell_is_neither_forgotten_nor_seen_again(
    dedangle: Dedangle, cells: dict[str, Cell], planted: dict[str, Planted], configure: Configure, state_dir: Path
) -> None:
    options = configure(grace_period=3600)
    ours = {planted["cell3"].reserved.id, planted["cell3"].revived.id}

    def remembered(servers: set[str]) -> dict[str, str]:
        kept: dict[str, dict[str, str]] = json.loads((state_dir / "sightings.json").read_text())
        moments = {key: moment for name in ("first_seen", "last_checked") for key, moment in kept[name].items()}
        return {key: moment for key, moment in moments.items() if servers & set(key.split())}

    assert dedangle("audit", *options).code == 0
    before, others = remembered(ours), remembered({planted["cell1"].reserved.id})
    assert {"attachment-never-used", "mapping-of-deleted-server"} <= {each.split()[0] for each in before}
    assert ours < set(before)
    with cells["cell3"].gone():
        assert dedangle("audit", *options).code == 5
    assert remembered(ours) == before
    assert remembered({planted["cell1"].reserved.id}) != others
    # A server that is whole again is forgotten in spite of it.
    stage = Stage(dedangle.cloud)
    stage.user.user.cinder("DELETE", f"/attachments/{planted['cell1'].attachment}", expect=200)
    with cells["cell3"].gone():
        assert dedangle("audit", *options).code == 5
    assert remembered({planted["cell1"].reserved.id}) == {}
    assert remembered(ours) == before


def test_a_volume_that_a_server_of_the_silent_cell_may_have_is_kept(
    cloud: Cloud, dedangle: Dedangle, stage: Stage, cells: dict[str, Cell], configure: Configure
) -> None:
    server = stage.server(1)
    stage.breaks.lose_attachment(server.id, server.volumes[1])
    stage.user.stop(server.id)
    before = rows.snapshot(cloud.home)
    arguments = ("cleanup", server.id, "--no-host", "--execute", "--yes", "-f", "json", *configure())
    with cells["cell3"].gone():
        done = dedangle(*arguments)
    assert done.code == 5
    assert f"Not checked: server {server.id}: Nova's cell3 could not be read" in done.err
    assert rows.diff(before, rows.snapshot(cloud.home)) == []
    assert removed(dedangle(*arguments)) == {("mapping-without-attachment", server.id)}


def test_a_server_that_may_have_a_copy_in_the_silent_cell_is_kept(
    cloud: Cloud, dedangle: Dedangle, stage: Stage, cells: dict[str, Cell], configure: Configure
) -> None:
    server = stage.server(0)
    attachment = stage.breaks.reserve_attachment(server.id, stage.user.volume())
    # What a resize to another cell leaves that failed there.
    stage.insert(
        "nova_cell1",
        "migrations",
        instance_uuid=server.id,
        status="error",
        migration_type="resize",
        cross_cell_move=True,
        hidden=False,
        deleted=0,
        uuid=str(uuid.uuid4()),
    )
    with cells["cell3"].gone():
        done = dedangle(*EXECUTE, *configure())
    assert (done.code, removed(done)) == (5, set())
    assert f"Not checked: server {server.id}: Nova's cell3 could not be read" in done.err
    assert not rows.snapshot(cloud.home).attachments[attachment]["deleted"]
    assert removed(dedangle(*EXECUTE, *configure())) == {("attachment-never-used", server.id)}


def test_attachments_of_servers_that_no_cell_is_known_to_have_are_kept(
    dedangle: Dedangle, stage: Stage, cells: dict[str, Cell], configure: Configure, tmp_path: Path
) -> None:
    stranger = stage.breaks.reserve_attachment(str(uuid.uuid4()), stage.user.volume())
    report = tmp_path / "report.json"
    with cells["cell3"].gone():
        done = dedangle("audit", "-f", "json", "--report", str(report), *configure())
    assert done.findings == []
    assert json.loads(report.read_text())["not_checked"][1].endswith("none of the cells that answered")
    whole = dedangle("audit", "-f", "json", *configure())
    assert [(each["code"], each["attachment_id"]) for each in whole.findings] == [
        ("attachment-unknown-owner", stranger)
    ]
    stage.user.user.cinder("DELETE", f"/attachments/{stranger}", expect=200)


def test_without_cell0_or_any_other_nothing_is_judged(
    cloud: Cloud, dedangle: Dedangle, cells: dict[str, Cell], planted: dict[str, Planted], configure: Configure
) -> None:
    before = rows.snapshot(cloud.home)
    for gone in ([Cell(cloud, "cell0")], list(cells.values())):
        with contextlib.ExitStack() as away:
            for each in gone:
                away.enter_context(each.gone())
            done = dedangle(*EXECUTE, *configure())
        assert (done.code, done.findings) == (5, [])
        assert rows.diff(before, rows.snapshot(cloud.home)) == []
    assert removed(dedangle(*EXECUTE, *configure())) == expected(planted, *NAMES)


def test_cells_of_one_name_are_all_read(
    cloud: Cloud, dedangle: Dedangle, planted: dict[str, Planted], configure: Configure
) -> None:
    rename = "UPDATE cell_mappings SET name = {} WHERE name = {}"
    with contextlib.closing(sqlite3.connect(cloud.home.database_file("nova_api"), timeout=60)) as api:
        api.execute(rename.format("'cell2'", "'cell3'"))
        api.commit()
        try:
            done = dedangle(*EXECUTE, *configure())
        finally:
            api.execute(
                "UPDATE cell_mappings SET name = 'cell3' WHERE database_connection = ?",
                (cloud.home.database_url("nova_cell3"),),
            )
            api.commit()
    assert (done.code, removed(done)) == (0, expected(planted, *NAMES)), done.err
