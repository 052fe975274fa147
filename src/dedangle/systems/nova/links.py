# SPDX-License-Identifier: Apache-2.0
"""Mappings for the control read of Cinder, and attachments that Nova has ever named."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from dedangle.core.links import NEAR
from dedangle.core.records import Attachment, Link
from dedangle.systems.nova import schema

_READ = 200
# Number of the newest mappings of any server among which those of active servers are looked for first.
_NEWEST = 2000
# Number of neighbours on each side of a mapping.
_NEIGHBOURS = 4
# Number of mappings whose neighbours one statement reads, two parts each.
_TOGETHER = 50
# Number of ids in one statement; each is looked up in an index.
_CHUNK = 1000


def youngest(connection: sa.Connection, cell: str) -> list[Link]:
    """Return the newest mappings of active servers, the newest first; see youngest_of_others."""
    table, servers = schema.block_device_mapping, schema.instances
    columns = (table.c.id, table.c.instance_uuid, table.c.volume_id, table.c.attachment_id)
    every = sa.select(*columns).where(*_has_attachment())
    newest = every.order_by(table.c.id.desc()).limit(_NEWEST)
    found: list[Link] = []
    for mappings in (newest.subquery(), every.subquery()):
        # Without the limit inside, MariaDB reads all live servers with all their mappings, and sorts them.
        statement = _links(mappings).where(servers.c.vm_state == "active", servers.c.task_state.is_(None))
        statement = statement.order_by(mappings.c.id.desc()).limit(2 * _READ)
        found = [_link(row, cell) for row in connection.execute(statement)]
        if len(found) >= _READ:
            break
    return found


def youngest_of_others(found: Iterable[Link], except_server: str) -> list[Link]:
    """Return the newest mappings without those of `except_server`."""
    return [link for link in found if link.server_id.lower() != except_server.lower()][:_READ]


def neighbours(connection: sa.Connection, cell: str, numbers: Sequence[tuple[str, int]]) -> list[tuple[str, Link]]:
    """Return the mappings of live servers right before and after each of the numbers, each with the number's server.

    A number is the primary key of a mapping of the server beside it. There are four links on each side, with the
    nearest primary keys, and none of the server itself. Servers that are being built or deleted are skipped, because
    their mapping and attachment are not created or deleted at the same time.
    """
    key, servers = schema.block_device_mapping.c.id, schema.instances
    settled = _links(schema.block_device_mapping).where(
        *_has_attachment(),
        servers.c.vm_state.not_in(("building", "deleted")),
        sa.or_(servers.c.task_state.is_(None), servers.c.task_state != "deleting"),
    )
    found: dict[tuple[str, int], Link] = {}
    # SQLAlchemy would keep 3 MB for each compiled statement of a hundred parts, and hardly any two are the same.
    connection = connection.execution_options(compiled_cache=None)
    for start in range(0, len(numbers), _TOGETHER):
        some = numbers[start : start + _TOGETHER]
        sides = []
        for place, (server_id, number) in enumerate(some):
            others = settled.add_columns(sa.literal_column(str(place)).label("place")).where(
                schema.block_device_mapping.c.instance_uuid != server_id
            )
            sides.append(others.where(key > number, key <= number + NEAR).order_by(key))
            sides.append(others.where(key < number, key >= number - NEAR).order_by(key.desc()))
        few = [side.limit(_NEIGHBOURS).subquery() for side in sides]
        for row in connection.execute(sa.union_all(*(sa.select(*each.c) for each in few))):
            server_id = some[row.place][0]
            found[server_id, row.id] = _link(row, cell)
    return [(server_id, link) for (server_id, _), link in found.items()]


def named(connection: sa.Connection, table: sa.Table, attachments: Collection[Attachment]) -> list[str]:
    """Return the ids of those attachments that a mapping of their volume in the table names."""
    # In the table of live rows volume_id has an index, but attachment_id does not.
    volumes, ids = (
        sorted({attachment.volume_id for attachment in attachments}),
        {attachment.id for attachment in attachments},
    )
    found: set[str] = set()
    for start in range(0, len(volumes), _CHUNK):
        of_volumes = sa.select(table.c.attachment_id).where(table.c.volume_id.in_(volumes[start : start + _CHUNK]))
        found.update(connection.execute(of_volumes.where(table.c.attachment_id.is_not(None))).scalars())
    return sorted(found & ids)


def _has_attachment() -> tuple[sa.ColumnElement[bool], ...]:
    table = schema.block_device_mapping
    is_volume = (table.c.destination_type == "volume", table.c.volume_id.is_not(None))
    return (*is_volume, table.c.attachment_id.is_not(None), table.c.deleted == 0)


def _links(mappings: sa.FromClause) -> sa.Select[Any]:
    servers = schema.instances
    joined = sa.join(mappings, servers, sa.and_(servers.c.uuid == mappings.c.instance_uuid, servers.c.deleted == 0))
    columns = (mappings.c.id, mappings.c.instance_uuid, mappings.c.volume_id, mappings.c.attachment_id)
    return sa.select(*columns, servers.c.project_id).select_from(joined)


def _link(row: sa.Row[Any], cell: str) -> Link:
    return Link(
        server_id=row.instance_uuid,
        volume_id=row.volume_id,
        attachment_id=row.attachment_id,
        cell=cell,
        number=row.id,
        project_id=row.project_id,
    )
