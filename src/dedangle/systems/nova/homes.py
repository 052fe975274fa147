# SPDX-License-Identifier: Apache-2.0
"""The cell of a server, from Nova's API database."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa

from dedangle.systems.nova import schema
from dedangle.systems.nova.rows import utc

# Number of ids in one statement; each is looked up in an index.
_CHUNK = 1000


@dataclasses.dataclass(frozen=True)
class Home:
    """The cell of a server; cell_id is the id of the cell mapping, None if the server has no cell."""

    building: bool
    cell_id: int | None
    requested_at: datetime | None = None
    """When the build was requested; None if it is not being scheduled, or the time is not known."""


def homes(connection: sa.Connection, server_ids: Collection[str]) -> dict[str, Home]:
    """Return the cell of each server, and whether it is still being scheduled to a cell."""
    mappings, requests = schema.instance_mappings, schema.build_requests
    placed = sa.select(mappings.c.instance_uuid, mappings.c.cell_id, mappings.c.created_at).where(
        mappings.c.instance_uuid.in_(server_ids)
    )
    requested = sa.select(requests.c.instance_uuid, requests.c.created_at).where(
        requests.c.instance_uuid.in_(server_ids)
    )
    cells: dict[str, int | None] = {}
    building: dict[str, datetime | None] = {}
    for server_id, cell_id, created_at in connection.execute(placed):
        cells[server_id.lower()] = cell_id
        if cell_id is None:
            building[server_id.lower()] = utc(created_at)
    building |= {server_id.lower(): utc(created_at) for server_id, created_at in connection.execute(requested)}
    return {
        each: Home(each.lower() in building, cells.get(each.lower()), building.get(each.lower())) for each in server_ids
    }


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


def with_sole_home(connection: sa.Connection, server_ids: Collection[str]) -> set[str]:
    """Return those of the servers that only this cell can have rows of, if they belong to it; ids in lower case.

    A cross-cell resize copies the server to another cell, but it first marks the migration in the old cell
    (nova/conductor/tasks/cross_cell_migrate.py:CrossCellMigrationTask._execute).
    """
    servers, moves = schema.instances, schema.migrations
    own = sa.select(servers.c.uuid).where(servers.c.uuid.in_(server_ids), servers.c.hidden.is_not(sa.true()))
    of_servers = moves.c.instance_uuid.in_(server_ids)
    moved = sa.select(moves.c.instance_uuid).where(of_servers, moves.c.cross_cell_move.is_(sa.true()))
    found, left = (connection.execute(each).scalars() for each in (own, moved))
    return {each.lower() for each in found} - {each.lower() for each in left}
