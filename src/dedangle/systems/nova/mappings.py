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
from dedangle.core.records import BlockDeviceMapping, Server
from dedangle.systems.nova import schema
from dedangle.systems.nova.cells import Cell


def soft_delete(cell: Cell, expected: BlockDeviceMapping, server: Server | None, now: datetime) -> Outcome:
    """Soft-delete the row exactly as Nova does (deleted = id), if it and its server are still as expected."""
    table = schema.block_device_mapping
    gone = {"deleted": table.c.id, "deleted_at": now, "updated_at": table.c.updated_at}
    return _swap(cell, expected, server, gone, Result.REMOVED)


def relink(
    cell: Cell, expected: BlockDeviceMapping, server: Server | None, attachment_id: str, now: datetime
) -> Outcome:
    """Name another attachment and forget the connection, which was the lost one's."""
    values = {"attachment_id": attachment_id, "connection_info": None, "updated_at": now}
    return _swap(cell, expected, server, values, Result.RELINKED)


def restore(
    cell: Cell,
    expected: BlockDeviceMapping,
    server: Server,
    attachment_id: str | None,
    connected: dict[str, Any] | None,
    now: datetime,
    *,
    multiattach: bool,
) -> Outcome:
    """Revive the row, if no live row of this cell has its volume or its place; for the rest see Restoring."""
    values: dict[str, Any] = {"deleted": 0, "deleted_at": None, "attachment_id": attachment_id, "updated_at": now}
    if connected is not None or attachment_id != expected.attachment_id:
        values["connection_info"] = _connection_info(connected, expected.volume_id, multiattach) if connected else None
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


def _connection_info(attachment: dict[str, Any], volume_id: str, multiattach: bool) -> str:
    """Cinder's answer in the form in which Nova keeps it (nova volume/cinder.py:_translate_attachment_ref)."""
    rest = {name: value for name, value in attachment.items() if name not in ("id", "attach_mode", "connection_info")}
    data = {name: value for name, value in attachment["connection_info"].items() if name != "attachment_id"}
    info = {"driver_volume_type": data.pop("driver_volume_type", None), "data": data, **rest, "serial": volume_id}
    return json.dumps({**info, "multiattach": True} if multiattach else info)
