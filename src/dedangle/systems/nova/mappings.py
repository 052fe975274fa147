# SPDX-License-Identifier: Apache-2.0
"""The three changes of a mapping's row, each one statement that compares and swaps.

An attach, a start or a migration that came first leaves no row to match: CHANGED_MEANWHILE.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from dedangle.core.decisions import Outcome, Result
from dedangle.core.records import BlockDeviceMapping, Reading, Server
from dedangle.systems.nova import schema
from dedangle.systems.nova.cells import Cell


def soft_delete(cell: Cell, expected: BlockDeviceMapping, server: Server | None, now: datetime) -> Outcome:
    """Soft-delete the row exactly as Nova does (deleted = id), if it and its server are still as expected."""
    table = schema.block_device_mapping
    gone = {"deleted": table.c.id, "deleted_at": now, "updated_at": table.c.updated_at}
    return _swap(cell, expected, server, gone, Result.REMOVED)


def name_attachment(
    cell: Cell,
    expected: BlockDeviceMapping,
    server: Server,
    attachment_id: str,
    connection_info: dict[str, Any] | None,
    now: datetime,
) -> Outcome:
    """Name another attachment and its connection; without one forget that of the lost attachment."""
    values = {"attachment_id": attachment_id, "connection_info": _text(connection_info), "updated_at": now}
    return _swap(cell, expected, server, values, Result.RELINKED)


def connection_info(cell: Cell, expected: BlockDeviceMapping) -> Reading[dict[str, Any]]:
    """Return the connection of the live row, a secret; no rows where it has none, unread where it is gone."""
    table = schema.block_device_mapping
    statement = sa.select(table.c.connection_info).where(table.c.id == expected.id, table.c.deleted == 0)

    def read(connection: sa.Connection) -> list[str | None]:
        return list(connection.execute(statement).scalars())

    answer = cell.ask(read)()
    if not answer.complete:
        return Reading.unread(answer.why)
    (rows,) = answer.rows
    if not rows:
        return Reading.unread("the mapping is gone")
    try:
        found = json.loads(rows[0] or "null")
    except ValueError:
        return Reading.unread("the connection_info of the mapping is not JSON")
    return Reading((found,) if isinstance(found, dict) and found else ())


def restore(
    cell: Cell,
    expected: BlockDeviceMapping,
    server: Server,
    attachment_id: str | None,
    connection_info: dict[str, Any] | None,
    now: datetime,
    *,
    multiattach: bool,
) -> Outcome:
    """Revive the row, if no live row of this cell has its volume or its place; for the rest see Restoring."""
    values: dict[str, Any] = {"deleted": 0, "deleted_at": None, "attachment_id": attachment_id, "updated_at": now}
    if connection_info is not None or attachment_id != expected.attachment_id:
        values["connection_info"] = _text(connection_info)
    return _swap(cell, expected, server, values, Result.RESTORED, _is_free(expected, multiattach))


def version() -> sa.ColumnElement[Any]:
    # As the database's own text: a DateTime written by other means than SQLAlchemy must still compare equal to itself.
    return sa.cast(schema.block_device_mapping.c.updated_at, sa.String(32))


def _swap(
    cell: Cell,
    expected: BlockDeviceMapping,
    server: Server | None,
    values: dict[str, Any],
    done: Result,
    *conditions: sa.ColumnElement[bool],
) -> Outcome:
    table = schema.block_device_mapping
    # Nova marks a row that is deleted with its own id.
    deleted = expected.id if expected.deleted else 0
    statement = (
        sa.update(table)
        .where(table.c.id == expected.id, table.c.deleted == deleted, table.c.instance_uuid == expected.server_id)
        .where(table.c.volume_id == expected.volume_id, _same(table.c.attachment_id, expected.attachment_id))
        .where(_same(version(), expected.version))
        .where(_server_condition(expected.server_id, server), *conditions)
        .values(values)
    )

    def write(connection: sa.Connection) -> int:
        return connection.execute(statement).rowcount

    answer = cell.ask(write)()
    if not answer.complete:
        return Outcome(result=Result.FAILED, detail=answer.why)
    if answer.rows == (1,):
        return Outcome(result=done)
    return Outcome(result=Result.CHANGED_MEANWHILE, detail="the mapping or its server is not as it was")


def _same(column: sa.ColumnElement[Any], value: object) -> sa.ColumnElement[bool]:
    return column.is_(None) if value is None else column == value


def _server_condition(server_id: str, server: Server | None) -> sa.ColumnElement[bool]:
    table = schema.instances
    if server is None or server.deleted:
        return ~sa.exists().where(table.c.uuid == server_id, table.c.deleted == 0)
    return sa.exists().where(
        table.c.uuid == server_id,
        table.c.deleted == 0,
        table.c.task_state.is_(None),
        _same(table.c.vm_state, server.vm_state),
        _same(table.c.power_state, server.power_state),
        _same(table.c.host, server.host),
    )


def _is_free(expected: BlockDeviceMapping, multiattach: bool) -> sa.ColumnElement[bool]:
    """Whether no live row of the cell maps the volume, nor one of the server's, of any kind, has the device's place."""
    rows = schema.block_device_mapping.alias()
    of_server = rows.c.instance_uuid == expected.server_id
    taken = [rows.c.volume_id == expected.volume_id]
    if multiattach:
        taken = [sa.and_(of_server, taken[0])]
    if expected.device_name:
        taken.append(sa.and_(of_server, rows.c.device_name == expected.device_name))
    if expected.is_bootable:
        taken.append(sa.and_(of_server, rows.c.boot_index == expected.boot_index))
    # MySQL updates no table that the same statement reads, unless it reads a copy: LIMIT makes it one.
    found = sa.select(rows.c.id).where(rows.c.deleted == 0, sa.or_(*taken)).limit(1).subquery()
    return ~sa.exists(sa.select(found.c.id))


def _text(connection_info: dict[str, Any] | None) -> str | None:
    return json.dumps(connection_info) if connection_info else None
