# SPDX-License-Identifier: Apache-2.0
"""Mappings for the control read of Cinder, and attachments that Nova has ever named."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import sqlalchemy as sa

from dedangle.core.links import NEAR
from dedangle.core.records import Attachment, Link
from dedangle.systems.nova import schema

_READ = 200
# Number of neighbours on each side of a mapping.
_NEIGHBOURS = 4
# Number of ids in one statement; each is looked up in an index.
_CHUNK = 1000


def youngest(connection: sa.Connection, cell: str, except_server: str) -> list[Link]:
    """Return the newest mappings of active servers other than `except_server`, the newest first."""
    servers = schema.instances
    statement = _links(except_server).where(servers.c.vm_state == "active", servers.c.task_state.is_(None))
    statement = statement.order_by(schema.block_device_mapping.c.id.desc()).limit(_READ)
    return [_link(row, cell) for row in connection.execute(statement)]


def neighbours(connection: sa.Connection, cell: str, except_server: str, numbers: Iterable[int]) -> list[Link]:
    """Return the mappings of live servers other than `except_server` right before and after each of the numbers.

    These are four on each side, with the nearest primary keys. Servers that are being built or deleted are skipped,
    because their mapping and attachment are not created or deleted at the same time.
    """
    key, servers = schema.block_device_mapping.c.id, schema.instances
    settled = _links(except_server).where(
        servers.c.vm_state.not_in(("building", "deleted")),
        sa.or_(servers.c.task_state.is_(None), servers.c.task_state != "deleting"),
    )
    found: dict[int, Link] = {}
    for number in numbers:
        after = settled.where(key > number, key <= number + NEAR).order_by(key)
        before = settled.where(key < number, key >= number - NEAR).order_by(key.desc())
        for statement in (after, before):
            for row in connection.execute(statement.limit(_NEIGHBOURS)):
                found[row.id] = _link(row, cell)
    return list(found.values())


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


def _links(except_server: str) -> sa.Select[Any]:
    table, servers = schema.block_device_mapping, schema.instances
    joined = sa.join(table, servers, sa.and_(servers.c.uuid == table.c.instance_uuid, servers.c.deleted == 0))
    return (
        sa.select(table.c.id, table.c.instance_uuid, table.c.volume_id, table.c.attachment_id, servers.c.project_id)
        .select_from(joined)
        .where(table.c.destination_type == "volume", table.c.volume_id.is_not(None), table.c.attachment_id.is_not(None))
        .where(table.c.deleted == 0, table.c.instance_uuid != except_server)
    )


def _link(row: sa.Row[Any], cell: str) -> Link:
    return Link(
        server_id=row.instance_uuid,
        volume_id=row.volume_id,
        attachment_id=row.attachment_id,
        cell=cell,
        number=row.id,
        project_id=row.project_id,
    )
