# SPDX-License-Identifier: Apache-2.0
"""More cells for a lab: databases of their own, into which servers are moved with all that Nova has of them."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dedangle.lab.builders import Server
from dedangle.lab.cloud import Cloud

# What is moved: the tables of a cell that name the server, by the column that does.
_TABLES = {
    "instances": "uuid",
    "block_device_mapping": "instance_uuid",
    "instance_system_metadata": "instance_uuid",
    "instance_actions": "instance_uuid",
    "migrations": "instance_uuid",
}


@dataclass(frozen=True)
class Cell:
    """A cell of a lab on SQLite, without services of its own."""

    cloud: Cloud
    name: str

    @property
    def database(self) -> str:
        return f"nova_{self.name}"

    def create(self) -> None:
        """Make its database with the schema of cell1's, and enter it in the API database."""
        home = self.cloud.home
        with (
            contextlib.closing(sqlite3.connect(home.database_file("nova_cell1"))) as cell1,
            contextlib.closing(sqlite3.connect(home.database_file(self.database))) as own,
        ):
            cell1.backup(own)
            tables = [name for (name,) in own.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            for table in tables:
                if table not in ("alembic_version", "sqlite_sequence"):
                    own.execute(f"DELETE FROM {table}")
            own.commit()
        with self._api() as api:
            entry = (str(uuid.uuid4()), self.name, "none:///", home.database_url(self.database))
            api.execute(
                "INSERT INTO cell_mappings (uuid, name, transport_url, database_connection, disabled) "
                "VALUES (?, ?, ?, ?, 0)",
                entry,
            )

    def take(self, server: Server) -> None:
        """Move the server here from cell1."""
        with self._open("nova_cell1") as cell1, self._open(self.database) as own:
            cell1.row_factory = sqlite3.Row
            for table, column in _TABLES.items():
                for old, new in _move(cell1, own, table, column, server.id):
                    if table == "instance_actions":
                        list(_move(cell1, own, "instance_actions_events", "action_id", old, new))
        with self._api() as api:
            moved = api.execute(
                "UPDATE instance_mappings SET cell_id = (SELECT id FROM cell_mappings WHERE name = ?) "
                "WHERE instance_uuid = ?",
                (self.name, server.id),
            )
            assert moved.rowcount == 1

    def live_mappings(self) -> list[Any]:
        with self._open(self.database) as own:
            return own.execute("SELECT id FROM block_device_mapping WHERE deleted = 0 ORDER BY id").fetchall()

    @contextlib.contextmanager
    def gone(self) -> Iterator[None]:
        """No database is where the API database says."""
        with self._at(f"sqlite:///{self.cloud.home.path}/nowhere/{self.database}.db"):
            yield

    @contextlib.contextmanager
    def hanging(self) -> Iterator[list[Any]]:
        """Something takes every connection and never says a word; yields those connections."""
        taken: list[Any] = []
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def take() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        taken.append(listener.accept())

            threading.Thread(target=take, daemon=True).start()
            with self._at(f"mysql+pymysql://nova:secret@127.0.0.1:{listener.getsockname()[1]}/nova"):
                yield taken
            listener.shutdown(socket.SHUT_RDWR)
        for connection, _ in taken:
            connection.close()

    @contextlib.contextmanager
    def _at(self, url: str) -> Iterator[None]:
        statement = "UPDATE cell_mappings SET database_connection = ? WHERE name = ?"
        with self._api() as api:
            api.execute(statement, (url, self.name))
        try:
            yield
        finally:
            with self._api() as api:
                api.execute(statement, (self.cloud.home.database_url(self.database), self.name))

    @contextlib.contextmanager
    def _open(self, database: str) -> Iterator[sqlite3.Connection]:
        path = self.cloud.home.database_file(database)
        with contextlib.closing(sqlite3.connect(path, timeout=60)) as opened, opened:
            yield opened

    def _api(self) -> contextlib.AbstractContextManager[sqlite3.Connection]:
        return self._open("nova_api")


def _move(
    source: sqlite3.Connection, target: sqlite3.Connection, table: str, column: str, value: Any, becomes: Any = None
) -> Iterator[tuple[int, int]]:
    """Move the rows whose column has the value; yields the old and the new id of each, as those are others' there."""
    for row in source.execute(f"SELECT * FROM {table} WHERE {column} = ?", (value,)).fetchall():
        # A mapping that is deleted is marked with its own id.
        kept = {name: row[name] for name in row.keys() if name != "id" or table == "block_device_mapping"}  # noqa: SIM118
        kept[column] = becomes or value
        marks = ", ".join("?" * len(kept))
        made = target.execute(f"INSERT INTO {table} ({', '.join(kept)}) VALUES ({marks})", tuple(kept.values()))
        yield row["id"], made.lastrowid or 0
    source.execute(f"DELETE FROM {table} WHERE {column} = ?", (value,))
