# SPDX-License-Identifier: Apache-2.0
"""What SQLite needs to serve many writers."""

import contextlib
import sqlite3
from pathlib import Path

from sqlalchemy import engine, event


def create(path: Path) -> None:
    """Create an empty database whose readers never block its writer."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode=WAL")


def begin_immediate() -> None:
    """Make every transaction of this process take the write lock at its start.

    A deferred one that reads and then writes fails at once, whatever the timeout, when another wrote in between.
    """

    @event.listens_for(engine.Engine, "before_cursor_execute", retval=True)
    def begin(
        connection: engine.Connection,
        _cursor: object,
        statement: str,
        parameters: object,
        _context: object,
        _executemany: bool,
    ) -> tuple[str, object]:
        immediate = statement == "BEGIN" and connection.dialect.name == "sqlite"
        return ("BEGIN IMMEDIATE" if immediate else statement), parameters
