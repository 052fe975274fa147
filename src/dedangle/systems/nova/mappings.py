# SPDX-License-Identifier: Apache-2.0
"""The changes of a mapping's row. Each change is one compare-and-swap statement.

If an attach, a start or a migration was faster, no row matches, and the result is CHANGED_MEANWHILE.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from dedangle.core.decisions import Outcome, Result
from dedangle.core.records import BlockDeviceMapping, Reading, Server
from dedangle.systems.nova import schema
from dedangle.systems.nova.cells import Cell


def soft_delete(cell: Cell, expected: BlockDeviceMapping, server: Server | None, now: datetime) -> Outcome:
    """Soft-delete the row exactly as Nova does (deleted = id), if the row and its server have not changed."""
    table = schema.block_device_mapping
    gone = {"deleted": table.c.id, "deleted_at": now, "updated_at": table.c.updated_at}
    return _swap(cell, expected, server, gone, now, Result.REMOVED)


def name_attachment(
    cell: Cell,
    expected: BlockDeviceMapping,
    server: Server,
    attachment_id: str,
    connection_info: dict[str, Any] | None,
    now: datetime,
) -> Outcome:
    """Let the mapping name another attachment with its connection_info; without one, clear the old one."""
    values = {"attachment_id": attachment_id, "connection_info": _text(connection_info), "updated_at": now}
    return _swap(cell, expected, server, values, now, Result.RELINKED)


def connection_info(cell: Cell, expected: BlockDeviceMapping) -> Reading[dict[str, Any]]:
    """Return the connection_info of the live row, a secret; empty if it has none, unread if the row is gone."""
    table = schema.block_device_mapping
    statement = sa.select(table.c.connection_info).where(table.c.id == expected.id, table.c.deleted == 0)

    def read(connection: sa.Connection) -> list[str | None]:
        return list(connection.execute(statement).scalars())

    answer = cell.ask(read)()
    if not answer.complete:
        return Reading.unread(answer.why)
    (rows,) = answer.rows
    if not rows:
        return Reading.unread("the mapping was deleted meanwhile")
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
    """Restore the row if no live row of this cell has its volume or its device name; see ports.Restoring."""
    values: dict[str, Any] = {"deleted": 0, "deleted_at": None, "attachment_id": attachment_id, "updated_at": now}
    if connection_info is not None or attachment_id != expected.attachment_id:
        values["connection_info"] = _text(connection_info)
    return _swap(cell, expected, server, values, now, Result.RESTORED, _is_free(expected, multiattach))


def version(table: sa.Table = schema.block_device_mapping) -> sa.ColumnElement[Any]:
    # As text of the database, so that a time that was not written by SQLAlchemy still equals itself.
    return sa.cast(table.c.updated_at, sa.String(32))


def _swap(
    cell: Cell,
    expected: BlockDeviceMapping,
    server: Server | None,
    values: dict[str, Any],
    now: datetime,
    done: Result,
    *conditions: sa.ColumnElement[bool],
) -> Outcome:
    table = schema.block_device_mapping
    # In a deleted row Nova sets `deleted` to the id of the row.
    deleted = expected.id if expected.deleted else 0
    as_expected = (
        *(table.c.id == expected.id, table.c.deleted == deleted, table.c.instance_uuid == expected.server_id),
        *(table.c.volume_id == expected.volume_id, _same(table.c.attachment_id, expected.attachment_id)),
        *(_same(version(), expected.version), *conditions),
    )
    living = server if server is not None and not server.deleted else None
    change = sa.update(table).where(*as_expected).values(values)
    if living is None:
        # Nova brings no server back that it has deleted.
        servers = schema.instances
        change = change.where(~sa.exists().where(servers.c.uuid == expected.server_id, servers.c.deleted == 0))

    def write(connection: sa.Connection) -> int:
        if living and not connection.execute(_touch(living, now, sa.exists().where(*as_expected))).rowcount:
            return 0
        return connection.execute(change).rowcount

    def is_ours(connection: sa.Connection) -> bool:
        """Whether the row is what this very write makes of it; nobody else has its moment and its values."""
        kept = [name for name, value in values.items() if value is table.c[name]]
        own = [_same(table.c[name], value) for name, value in values.items() if name not in ("connection_info", *kept)]
        return connection.execute(sa.select(table.c.id).where(table.c.id == expected.id, *own)).first() is not None

    written = cell.write(write)
    if not written.reading.complete:
        result = Result.UNKNOWN if written.may_be_written else Result.FAILED
        return Outcome(result=result, detail=written.reading.why)
    if written.reading.rows == (1,):
        return Outcome(result=done)
    if written.may_be_written:
        found = cell.ask(is_ours)()
        if not found.complete:
            return Outcome(result=Result.UNKNOWN, detail=found.why)
        if found.rows == (True,):
            return Outcome(result=done)
    return Outcome(result=Result.CHANGED_MEANWHILE, detail="the mapping or its server has changed")


def _same(column: sa.ColumnElement[Any], value: object) -> sa.ColumnElement[bool]:
    return column.is_(None) if value is None else column == value


def _touch(server: Server, now: datetime, mapping_is_there: sa.ColumnElement[bool]) -> sa.Update:
    """Change the server's row if it is as expected, so that of this transaction and one that starts it one fails.

    What a transaction has only read Galera does not compare with what other nodes write, nor does a single server that
    reads what is committed (READ COMMITTED). A time that is set to what it was changes nothing and does not count.
    """
    table = schema.instances
    another = sa.case((table.c.updated_at == now, now + timedelta(seconds=1)), else_=now)
    return (
        sa.update(table)
        .where(table.c.uuid == server.id, table.c.deleted == 0, table.c.task_state.is_(None))
        .where(_same(table.c.vm_state, server.vm_state), _same(table.c.power_state, server.power_state))
        .where(_same(table.c.host, server.host), mapping_is_there)
        .values(updated_at=another)
    )


def _is_free(expected: BlockDeviceMapping, multiattach: bool) -> sa.ColumnElement[bool]:
    """Whether no live row of the cell maps the volume, and no row of the server has its device name or boot index."""
    rows = schema.block_device_mapping.alias()
    of_server = rows.c.instance_uuid == expected.server_id
    taken = [rows.c.volume_id == expected.volume_id]
    if multiattach:
        taken = [sa.and_(of_server, taken[0])]
    if expected.device_name:
        taken.append(sa.and_(of_server, rows.c.device_name == expected.device_name))
    if expected.is_bootable:
        taken.append(sa.and_(of_server, rows.c.boot_index == expected.boot_index))
    # MySQL cannot update a table that a subquery of the same statement reads, unless LIMIT makes the subquery a copy.
    found = sa.select(rows.c.id).where(rows.c.deleted == 0, sa.or_(*taken)).limit(1).subquery()
    return ~sa.exists(sa.select(found.c.id))


def _text(connection_info: dict[str, Any] | None) -> str | None:
    return json.dumps(connection_info) if connection_info else None
