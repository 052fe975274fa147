# SPDX-License-Identifier: Apache-2.0
"""A lab's databases as they once were, put back under the running services as often as somebody wants them."""

import contextlib
import shutil
import sqlite3
from pathlib import Path

from dedangle.lab.cloud import Cloud
from dedangle.lab.home import CELLS

# What holds servers and volumes; nothing in Keystone's or Placement's database changes.
DATABASES = (*CELLS.values(), "nova_api", "cinder")


class Standing:
    """A copy of the databases of a lab on SQLite, and of the files that dedangle keeps.

    The fake driver keeps the power state of its guests in memory, where it stays. Only the reboot reads or changes it:
    no other door reaches nova-compute through the message bus of this lab, which ends at the process.
    """

    def __init__(self, cloud: Cloud, directory: Path) -> None:
        self._databases = {name: (cloud.home.database_file(name), directory / f"{name}.db") for name in DATABASES}
        self._files = (cloud.home.state / "dedangle", directory / "dedangle")
        for live, copy in self._databases.values():
            _copy(live, copy)
        shutil.copytree(*self._files)

    def restore(self) -> None:
        """Make every row and file what it was; nothing may be in progress."""
        for live, copy in self._databases.values():
            # A service that reported minutes ago counts as down, so the reports stay as they are now.
            reports = _reports(live)
            _copy(copy, live)
            _write_reports(live, reports)
        live_files, copied_files = self._files
        shutil.rmtree(live_files)
        shutil.copytree(copied_files, live_files)


def _copy(source: Path, target: Path) -> None:
    with _open(source) as old, _open(target) as new:
        old.backup(new)


def _reports(database: Path) -> list[tuple[object, ...]]:
    with _open(database) as connection:
        columns = _report_columns(connection)
        return connection.execute(f"SELECT {', '.join(columns)}, id FROM services").fetchall() if columns else []


def _write_reports(database: Path, reports: list[tuple[object, ...]]) -> None:
    with _open(database) as connection, connection:
        columns = " = ?, ".join(_report_columns(connection))
        if columns:
            connection.executemany(f"UPDATE services SET {columns} = ? WHERE id = ?", reports)


def _report_columns(connection: sqlite3.Connection) -> list[str]:
    """Which columns of the table of services a report writes; Cinder's has no last_seen_up, nova_api has no table."""
    there = {column[1] for column in connection.execute("PRAGMA table_info(services)")}
    return [name for name in ("report_count", "updated_at", "last_seen_up") if name in there]


def _open(path: Path) -> contextlib.closing[sqlite3.Connection]:
    return contextlib.closing(sqlite3.connect(path, timeout=60))
