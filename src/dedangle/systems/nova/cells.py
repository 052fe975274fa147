# SPDX-License-Identifier: Apache-2.0
"""Nova's databases: the API database and the cells, with timeouts."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import sqlalchemy as sa

from dedangle.core.records import Reading
from dedangle.systems.database import Database


@dataclasses.dataclass(frozen=True)
class Cell(Database):
    """A database of Nova. `name` is the name of the cell mapping, or its UUID; `id` is its primary key."""

    name: str
    id: int = 0
    is_cell0: bool = False


def api_cell(timeout: float) -> Cell:
    """Return the API database of nova.conf, with a timeout in seconds for each query."""
    from nova.db.api import api as api_db

    return Cell("Nova's API database", api_db.get_engine, timeout, "API database")


def every_cell(timeout: float) -> Reading[Cell]:
    """Return every cell of the cell mappings, with cell0 and disabled cells; Nova resolves their URLs.

    `timeout` is in seconds, for each query.
    """
    from nova import context, objects
    from nova.db.main import api as main_db

    def mappings(_: sa.Connection) -> list[Any]:
        objects.register_all()
        return list(objects.CellMappingList.get_all(context.get_admin_context()))

    def cell(mapping: Any, names: Counter[str]) -> Cell:
        manager = main_db.create_context_manager(mapping.database_connection)
        name = mapping.name if names[mapping.name] == 1 else mapping.uuid
        label = f"Nova's {name}"
        return Cell(label, manager.writer.get_engine, timeout, name, mapping.id, mapping.is_cell0())

    answer = api_cell(timeout).ask(mappings)()
    found = [mapping for row in answer.rows for mapping in row]
    # Nova allows several cells with the same name.
    names = Counter(mapping.name for mapping in found if mapping.name)
    rows = tuple(cell(mapping, names) for mapping in found)
    if answer.complete and not rows:
        return Reading.unread("Nova's API database has no cell mappings")
    return Reading(rows, answer.complete, answer.why)
