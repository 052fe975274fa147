# SPDX-License-Identifier: Apache-2.0
"""Mappings that witness whether Cinder has what Nova names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from dedangle.core.records import Link
from dedangle.systems import nova_schema as schema

_READ, _KEPT, _PER_PROJECT = 200, 8, 2


def youngest(connection: sa.Connection, cell: str, besides: str) -> list[Link]:
    """Return the youngest mappings of active servers other than `besides`, the youngest first."""
    servers = schema.instances
    statement = _links(besides).where(servers.c.vm_state == "active", servers.c.task_state.is_(None))
    statement = statement.order_by(schema.block_device_mapping.c.id.desc()).limit(_READ)
    return [_link(row, cell) for row in connection.execute(statement)]


def of_many_projects(links: Iterable[Link]) -> tuple[Link, ...]:
    """Return a few of the links, from as many projects as can be."""
    kept: list[Link] = []
    projects: Counter[str | None] = Counter()
    for link in links:
        projects[link.project_id] += 1
        if projects[link.project_id] <= _PER_PROJECT and len(kept) < _KEPT:
            kept.append(link)
    return tuple(kept)


def _links(besides: str) -> sa.Select[Any]:
    table, servers = schema.block_device_mapping, schema.instances
    joined = sa.join(table, servers, sa.and_(servers.c.uuid == table.c.instance_uuid, servers.c.deleted == 0))
    return (
        sa.select(table.c.id, table.c.instance_uuid, table.c.volume_id, table.c.attachment_id, servers.c.project_id)
        .select_from(joined)
        .where(table.c.destination_type == "volume", table.c.volume_id.is_not(None), table.c.attachment_id.is_not(None))
        .where(table.c.deleted == 0, table.c.instance_uuid != besides)
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
