# SPDX-License-Identifier: Apache-2.0
"""The columns of Nova's tables that dedangle uses; they are the same in every release since 2023.1."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

_metadata = sa.MetaData()


def _table(name: str, *columns: str | sa.Column[Any]) -> sa.Table:
    made = [column if isinstance(column, sa.Column) else sa.Column(column, sa.String) for column in columns]
    return sa.Table(name, _metadata, *made)


def _servers(name: str) -> sa.Table:
    return _table(
        name,
        sa.Column("id", sa.Integer, primary_key=True),
        *("uuid", "project_id", "host", "vm_state", "task_state", "image_ref", "root_device_name"),
        *("display_name", "hostname"),
        sa.Column("power_state", sa.Integer),
        sa.Column("deleted", sa.Integer),
        sa.Column("hidden", sa.Boolean),
        sa.Column("launched_at", sa.DateTime),
        sa.Column("deleted_at", sa.DateTime),
        sa.Column("updated_at", sa.DateTime),
    )


instances = _servers("instances")
shadow_instances = _servers("shadow_instances")


def _mappings(name: str) -> sa.Table:
    return _table(
        name,
        sa.Column("id", sa.Integer, primary_key=True),
        *("uuid", "instance_uuid", "volume_id", "attachment_id", "source_type", "destination_type", "device_name"),
        sa.Column("connection_info", sa.Text),
        sa.Column("boot_index", sa.Integer),
        sa.Column("deleted", sa.Integer),
        sa.Column("created_at", sa.DateTime),
        sa.Column("updated_at", sa.DateTime),
        sa.Column("deleted_at", sa.DateTime),
    )


block_device_mapping = _mappings("block_device_mapping")
# nova-manage db archive_deleted_rows moves rows here; only the primary key is indexed.
shadow_block_device_mapping = _mappings("shadow_block_device_mapping")

instance_actions = _table(
    "instance_actions",
    sa.Column("id", sa.Integer, primary_key=True),
    *("action", "instance_uuid", "request_id", "project_id", "message"),
    sa.Column("created_at", sa.DateTime),
    sa.Column("start_time", sa.DateTime),
    sa.Column("finish_time", sa.DateTime),
    sa.Column("updated_at", sa.DateTime),
    sa.Column("deleted", sa.Integer),
)

instance_actions_events = _table(
    "instance_actions_events",
    sa.Column("id", sa.Integer, primary_key=True),
    *("event", "result"),
    sa.Column("action_id", sa.Integer),
    sa.Column("created_at", sa.DateTime),
    sa.Column("start_time", sa.DateTime),
    sa.Column("finish_time", sa.DateTime),
    sa.Column("updated_at", sa.DateTime),
    sa.Column("details", sa.Text),
    sa.Column("deleted", sa.Integer),
)

instance_system_metadata = _table(
    "instance_system_metadata",
    sa.Column("id", sa.Integer, primary_key=True),
    *("instance_uuid", "key", "value"),
    sa.Column("created_at", sa.DateTime),
    sa.Column("updated_at", sa.DateTime),
    sa.Column("deleted", sa.Integer),
)

migrations = _table(
    "migrations",
    sa.Column("id", sa.Integer, primary_key=True),
    *("instance_uuid", "status", "migration_type"),
    sa.Column("cross_cell_move", sa.Boolean),
    sa.Column("created_at", sa.DateTime),
    sa.Column("updated_at", sa.DateTime),
    sa.Column("deleted", sa.Integer),
)

services = _table(
    "services",
    sa.Column("id", sa.Integer, primary_key=True),
    *("host", "binary"),
    sa.Column("forced_down", sa.Boolean),
    sa.Column("created_at", sa.DateTime),
    sa.Column("last_seen_up", sa.DateTime),
    sa.Column("deleted", sa.Integer),
)

# Tables of the API database have no soft delete; their rows are removed.
instance_mappings = _table(
    "instance_mappings",
    sa.Column("id", sa.Integer, primary_key=True),
    "instance_uuid",
    sa.Column("cell_id", sa.Integer),
    sa.Column("created_at", sa.DateTime),
)

build_requests = _table(
    "build_requests",
    sa.Column("id", sa.Integer, primary_key=True),
    "instance_uuid",
    sa.Column("created_at", sa.DateTime),
)
