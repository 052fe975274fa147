# SPDX-License-Identifier: Apache-2.0
"""The cell of a server, from Nova's API database."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import sqlalchemy as sa

from dedangle.systems.nova import schema

# Number of ids in one statement; each is looked up in an index.
_CHUNK = 1000


@dataclasses.dataclass(frozen=True)
class Home:
    """The cell of a server; cell_id is the id of the cell mapping, None if the server has no cell."""

    building: bool
    cell_id: int | None


def home(connection: sa.Connection, server_id: str) -> Home:
    """Return the cell of a server, and whether it is still being scheduled to a cell."""
    mappings, requests = schema.instance_mappings, schema.build_requests
    mapped = connection.execute(sa.select(mappings.c.cell_id).where(mappings.c.instance_uuid == server_id)).first()
    requested = sa.select(requests.c.id).where(requests.c.instance_uuid == server_id)
    building = (mapped is not None and mapped.cell_id is None) or connection.execute(requested).first() is not None
    return Home(building, mapped.cell_id if mapped else None)


def at_home(connection: sa.Connection, server_ids: Collection[str], cell_ids: Collection[int]) -> list[str]:
    """Return those of the servers that are in one of the cells."""
    table = schema.instance_mappings
    wanted = sorted(server_ids)
    found: list[str] = []
    for start in range(0, len(wanted), _CHUNK):
        chunk = table.c.instance_uuid.in_(wanted[start : start + _CHUNK])
        in_cells = sa.select(table.c.instance_uuid).where(chunk, table.c.cell_id.in_(sorted(cell_ids)))
        found += connection.execute(in_cells).scalars()
    return found


def is_sole_home(connection: sa.Connection, server_id: str) -> bool:
    """Whether only this cell, to which the server belongs, can have rows of the server.

    A cross-cell resize copies the server to another cell, but it first marks the migration in the old cell
    (nova/conductor/tasks/cross_cell_migrate.py:CrossCellMigrationTask._execute).
    """
    servers, moves = schema.instances, schema.migrations
    own = sa.select(servers.c.id).where(servers.c.uuid == server_id, servers.c.hidden.is_not(sa.true()))
    moved = sa.select(moves.c.id).where(moves.c.instance_uuid == server_id, moves.c.cross_cell_move.is_(sa.true()))
    return connection.execute(own).first() is not None and connection.execute(moved).first() is None
