# SPDX-License-Identifier: Apache-2.0
"""Killed or interrupted after each of its writes, a run leaves what the next one finishes."""

from __future__ import annotations

import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from cases.stage import Stage
from dedangle.lab import rows
from dedangle.lab.builders import Server
from dedangle.lab.cloud import Cloud
from shell import THOROUGH, Dedangle, journal

EXECUTE = ("--restart", "--no-host", "--execute", "--yes", "-f", "json")
LONG_AGO = "2026-01-01 00:00:00.000000"
# The machine has two cores: more runs at once only wait for each other.
AT_ONCE = 3


def lost_mapping(stage: Stage) -> Server:
    """A running server, which must be stopped for its mapping to go."""
    server = stage.server(2)
    stage.breaks.lose_attachment(server.id, server.volumes[1])
    return server


def two_reserved_attachments(stage: Stage) -> Server:
    server = stage.server(0)
    for _ in range(2):
        stage.breaks.reserve_attachment(server.id, stage.user.volume())
    return server


@pytest.mark.parametrize(
    ("broken", "writes", "how"),
    [
        (lost_mapping, 10, "kill"),
        pytest.param(lost_mapping, 10, "interrupt", marks=pytest.mark.thorough),
        pytest.param(two_reserved_attachments, 8, "kill", marks=pytest.mark.thorough),
    ],
)
def test_after_every_write(
    cloud: Cloud, dedangle: Dedangle, broken: Callable[[Stage], Server], writes: int, how: str
) -> None:
    Stage(cloud, "p2").server()

    def end_after(number: int) -> None:
        _Run(cloud, dedangle, broken(Stage(cloud))).end_after(number, how)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        chosen = range(1, writes + 1, 1 if THOROUGH else 4)
        assert list(pool.map(end_after, chosen)) == [None] * len(chosen)
    # That those were all: the run comes to its end.
    done = dedangle.until(how, str(writes + 1), "cleanup", broken(Stage(cloud)).id, *EXECUTE)
    assert (done.code, "boundary" in done.err) == (0, False)


class _Run:
    def __init__(self, cloud: Cloud, dedangle: Dedangle, server: Server) -> None:
        self.cloud, self.dedangle, self.server = cloud, dedangle, server

    def end_after(self, number: int, how: str) -> None:
        before = rows.snapshot(self.cloud.home)
        doomed = self.dangling(before)
        assert doomed
        done = self.dedangle.until(how, str(number), "cleanup", self.server.id, *EXECUTE)
        where = done.err.partition("boundary ")[2].partition("\n")[0]
        assert where, f"it came to its end before write {number}: {done.err}"
        assert done.code == (-signal.SIGKILL if how == "kill" else 130), f"{where}: {done.err}"
        if how == "interrupt":
            # A safe boundary: nothing is left half-way.
            assert self.status() == "ACTIVE", where
            assert self.open_intents() == [], where
            assert self.open_actions() == 0, where
        self.let_time_pass()

        again = self.dedangle("cleanup", self.server.id, *EXECUTE)
        assert again.code == 0, f"{where}: {again.err}"
        after = rows.snapshot(self.cloud.home)
        assert self.changes(before, after) == doomed, where
        assert not self.dangling(after), where
        assert self.status() == "ACTIVE", where
        assert not (self.cloud.home.state / "dedangle" / "stopped" / self.server.id).exists(), where
        intended = {each["row"]["id"] for each in self.journal() if each["phase"] == "intent"}
        assert {getattr(after, table)[key]["id"] for table, key in doomed} <= intended, where
        assert len(self.open_intents()) <= (1 if how == "kill" else 0), where

    def dangling(self, now: rows.Snapshot) -> set[tuple[str, str]]:
        """(table, key) of the server's rows that have no counterpart."""
        attachments = {str(row["id"]) for row in now.attachments_of(self.server.id)}
        mappings = now.mappings_of(self.server.id)
        lost = {f"{row['cell']}/{row['id']}" for row in mappings if row["attachment_id"] not in attachments}
        unnamed = attachments - {str(row["attachment_id"]) for row in mappings}
        return {("mappings", each) for each in lost} | {("attachments", each) for each in unnamed}

    def changes(self, before: rows.Snapshot, after: rows.Snapshot) -> set[tuple[str, str]]:
        """(table, key) of the rows that changed: of the server, its mappings and attachments."""
        own = (each for each in rows.diff(before, after) if each.table != "volumes")
        return {
            (each.table, each.key)
            for each in own
            if self.server.id in ((each.after or {}).get("instance_uuid"), (each.after or {}).get("uuid"))
        }

    def status(self) -> str:
        return Stage(self.cloud).user.status(self.server.id)

    def journal(self) -> list[dict[str, Any]]:
        """The journal's entries of the server's rows; each line is whole."""
        lines = journal(self.cloud.home.state / "dedangle")
        own = {each["entry"] for each in lines if each["phase"] == "intent" and each["server_id"] == self.server.id}
        return [each for each in lines if each.get("entry") in own]

    def open_intents(self) -> list[dict[str, Any]]:
        closed = {each["entry"] for each in self.journal() if each["phase"] == "outcome"}
        return [each for each in self.journal() if each["entry"] not in closed]

    def open_actions(self) -> int:
        with self.cloud.home.connect("nova_cell1") as nova:
            table = _actions()
            found = sa.select(sa.func.count()).select_from(table).where(*self._unfinished(table))
            return int(nova.execute(found).scalar_one())

    def let_time_pass(self) -> None:
        """Make the open action of a killed run old: until then the next one takes the server for in flight."""
        with self.cloud.home.connect("nova_cell1") as nova:
            table = _actions()
            nova.execute(sa.update(table).where(*self._unfinished(table)).values(start_time=LONG_AGO))

    def _unfinished(self, table: Any) -> list[sa.ColumnElement[bool]]:
        return [
            table.c.instance_uuid == self.server.id,
            table.c.action == "dedangle_cleanup",
            table.c.finish_time.is_(None),
        ]


def _actions() -> Any:
    return sa.table("instance_actions", *map(sa.column, ("instance_uuid", "action", "start_time", "finish_time")))
