# SPDX-License-Identifier: Apache-2.0
"""Which databases Nova has, and how each is asked without waiting for ever."""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa

from dedangle.core.records import Reading

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Cell:
    """A database of Nova's; name is the cell mapping's name, else its UUID; timeout is in seconds."""

    name: str
    engine: Callable[[], sa.Engine]
    timeout: float

    def ask(self, question: Callable[[sa.Connection], T]) -> Callable[[], Reading[T]]:
        """Start the question in a thread and a transaction of its own; calling the result waits for the answer.

        The answer has one row, or says why not. The thread is a daemon: a database that hangs must not keep the process
        from ending. A write that timed out may still be committed.
        """
        answers: queue.SimpleQueue[Reading[T]] = queue.SimpleQueue()

        def run() -> None:
            try:
                with self.engine().begin() as connection:
                    row = question(connection)
                answers.put(Reading((row,)))
            except Exception as error:
                # Whatever a driver raises, the database was not read. Its text may hold the URL, and so the password.
                answers.put(Reading.unread(f"Nova's {self.name} could not be read ({type(error).__name__})"))

        threading.Thread(target=run, name=f"dedangle-{self.name}", daemon=True).start()

        def wait() -> Reading[T]:
            try:
                return answers.get(timeout=self.timeout)
            except queue.Empty:
                return Reading.unread(f"Nova's {self.name} did not answer in {self.timeout:g} s")

        return wait


def api_cell(timeout: float) -> Cell:
    """The API database that nova.conf names, asked in `timeout` seconds."""
    from nova.db.api import api as api_db

    return Cell("API database", api_db.get_engine, timeout)


def every_cell(timeout: float) -> Reading[Cell]:
    """Every cell of the cell mappings, cell0 and disabled ones included, by Nova's own reading of their URLs."""
    from nova import context, objects
    from nova.db.main import api as main_db

    def mappings(_: sa.Connection) -> list[Any]:
        objects.register_all()
        return list(objects.CellMappingList.get_all(context.get_admin_context()))

    def cell(mapping: Any) -> Cell:
        manager = main_db.create_context_manager(mapping.database_connection)
        return Cell(mapping.name or mapping.uuid, manager.writer.get_engine, timeout)

    answer = api_cell(timeout).ask(mappings)()
    rows = tuple(cell(mapping) for found in answer.rows for mapping in found)
    if answer.complete and not rows:
        return Reading.unread("Nova's API database has no cell mappings")
    return Reading(rows, answer.complete, answer.why)
