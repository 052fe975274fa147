# SPDX-License-Identifier: Apache-2.0
"""Convert rows of a cell's database to core records."""

from __future__ import annotations

import sys
from datetime import datetime, timezone
from typing import Any

import sqlalchemy as sa

from dedangle.core.records import BlockDeviceMapping, Server
from dedangle.systems.nova import mappings as nova_mappings
from dedangle.systems.nova import schema


def utc(moment: datetime | None) -> datetime | None:
    """Return the time of a column, which Nova writes in UTC and without a zone."""
    return moment.replace(tzinfo=timezone.utc) if moment else None


def _shared(text: str | None) -> str | None:
    """Return the one object for all equal texts: a sweep keeps the rows and findings of thousands of servers."""
    return sys.intern(text) if text else text


def mappings(table: sa.Table = schema.block_device_mapping) -> sa.Select[Any]:
    """Select every mapping of a volume to a server, live or soft-deleted, without its connection_info."""
    names = ("id", "uuid", "instance_uuid", "volume_id", "attachment_id", "source_type", "boot_index", "device_name")
    return sa.select(
        *(table.c[name] for name in (*names, "created_at", "updated_at", "deleted_at", "deleted")),
        table.c.connection_info.is_not(None).label("has_connection_info"),
        nova_mappings.version(table).label("version"),
    ).where(table.c.destination_type == "volume", table.c.volume_id.is_not(None), table.c.instance_uuid.is_not(None))


def server(row: sa.RowMapping, cell: str) -> Server:
    """Return the server of a row of instances or shadow_instances."""
    return Server(
        id=sys.intern(row["uuid"]),
        cell=cell,
        project_id=_shared(row["project_id"]) or "",
        host=_shared(row["host"]),
        vm_state=_shared(row["vm_state"]),
        task_state=row["task_state"],
        power_state=row["power_state"],
        # Not deleted_at, because a SOFT_DELETED server that waits for its reclaim has it set too.
        deleted=row["deleted"] != 0,
        hidden=bool(row["hidden"]),
        image_ref=_shared(row["image_ref"]) or None,
        root_device_name=_shared(row["root_device_name"]),
        launched_at=utc(row["launched_at"]),
        deleted_at=utc(row["deleted_at"]),
        updated_at=utc(row["updated_at"]),
        name=row["display_name"] or None,
    )


def mapping(row: sa.RowMapping, cell: str) -> BlockDeviceMapping:
    """Return the mapping of a row that mappings() selected."""
    times = [row[name] for name in ("created_at", "updated_at", "deleted_at") if row[name]]
    return BlockDeviceMapping(
        id=row["id"],
        uuid=_shared(row["uuid"]),
        cell=cell,
        server_id=sys.intern(row["instance_uuid"]),
        volume_id=sys.intern(row["volume_id"]),
        attachment_id=_shared(row["attachment_id"]),
        has_connection_info=bool(row["has_connection_info"]),
        source_type=_shared(row["source_type"]),
        boot_index=row["boot_index"],
        device_name=_shared(row["device_name"]),
        created_at=utc(row["created_at"]),
        version=row["version"],
        changed_at=utc(max(times, default=None)),
        deleted=row["deleted"] != 0,
    )
