# SPDX-License-Identifier: Apache-2.0
"""The rows of Nova's and Cinder's databases about servers and volumes, to compare before with after."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TypeAlias

import sqlalchemy as sa

from dedangle.lab.home import CELLS, Home

Row: TypeAlias = Mapping[str, object]

# Times and the contents of connection_info are left out: the services rewrite them when nothing has changed.
_COLUMNS = {
    "instances": "uuid, display_name, project_id, host, vm_state, task_state, power_state, deleted",
    "block_device_mapping": "id, uuid, instance_uuid, volume_id, attachment_id, source_type, destination_type, "
    "boot_index, device_name, delete_on_termination, deleted, deleted_at IS NOT NULL AS has_deleted_at, "
    "COALESCE(connection_info, 'null') NOT IN ('null', '{}') AS has_connection_info",
    "volumes": "id, display_name, project_id, status, attach_status, migration_status, deleted",
    "volume_attachment": "id, volume_id, instance_uuid, attach_status, attach_mode, attached_host, mountpoint, "
    "deleted, COALESCE(connection_info, 'null') NOT IN ('null', '{}') AS has_connection_info",
}
_NOVA_TABLES = ("instances", "block_device_mapping")
_CINDER_TABLES = ("volumes", "volume_attachment")

_MAPPING = sa.table(
    "block_device_mapping", *map(sa.column, ("id", "instance_uuid", "volume_id", "attachment_id", "deleted"))
)
# Farther than dedangle looks for the neighbours of a mapping.
_FAR = 100_000


@dataclass(frozen=True)
class Snapshot:
    """Every row of the four tables, soft-deleted ones included, by cell and id."""

    servers: Mapping[str, Row]
    mappings: Mapping[str, Row]
    volumes: Mapping[str, Row]
    attachments: Mapping[str, Row]

    def mappings_of(self, server: str) -> list[Row]:
        """Return the live mappings of a server."""
        return [row for row in self.mappings.values() if row["instance_uuid"] == server and not row["deleted"]]

    def attachments_of(self, server: str) -> list[Row]:
        """Return the live attachments of a server."""
        return [row for row in self.attachments.values() if row["instance_uuid"] == server and not row["deleted"]]


@dataclass(frozen=True)
class Change:
    """One row that differs; `before` is None for a new row, `after` for one that is gone."""

    table: str
    key: str
    before: Row | None
    after: Row | None

    @property
    def columns(self) -> dict[str, tuple[object, object]]:
        """Return the values before and after of each column that changed."""
        before, after = self.before or {}, self.after or {}
        names = {**before, **after}
        return {name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)}


def snapshot(home: Home) -> Snapshot:
    nova: dict[str, dict[str, Row]] = {table: {} for table in _NOVA_TABLES}
    for cell, database in CELLS.items():
        for table, rows in _read(home, database, _NOVA_TABLES).items():
            nova[table].update({f"{cell}/{row.get('id', row['uuid'])}": {"cell": cell, **row} for row in rows})
    cinder = {
        table: {str(row["id"]): row for row in rows} for table, rows in _read(home, "cinder", _CINDER_TABLES).items()
    }
    return Snapshot(
        servers=nova["instances"],
        mappings=nova["block_device_mapping"],
        volumes=cinder["volumes"],
        attachments=cinder["volume_attachment"],
    )


def diff(before: Snapshot, after: Snapshot) -> list[Change]:
    """Return the rows that differ, in a stable order."""
    changes = []
    for table in ("servers", "mappings", "volumes", "attachments"):
        old: Mapping[str, Row] = getattr(before, table)
        new: Mapping[str, Row] = getattr(after, table)
        changes += [
            Change(table, key, old.get(key), new.get(key))
            for key in sorted({*old, *new})
            if old.get(key) != new.get(key)
        ]
    return changes


def settle(home: Home, **where: str) -> None:
    """Set the times of mappings back by an hour: those of the rows whose columns are as given, of all without any.

    Archived rows are mappings too.

    dedangle believes no row that changed less than two minutes ago, and a demo or a test does not wait for that.
    """
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    recently, before = now - timedelta(minutes=5), now - timedelta(hours=1)
    names = ("created_at", "updated_at", "deleted_at")
    for name in ("block_device_mapping", "shadow_block_device_mapping"):
        table = sa.table(name, *(sa.column(each, sa.DateTime) for each in names), *map(sa.column, where))
        matches = [table.c[column] == value for column, value in where.items()]
        for database in CELLS.values():
            with home.connect(database) as connection:
                for moment in (table.c[each] for each in names):
                    recent = sa.update(table).where(moment > recently, *matches)
                    connection.execute(recent.values({moment.name: before}))


def set_apart(home: Home, **where: str) -> None:
    """Number the live mappings whose columns are as given as if thousands of others had been made around each of them.

    Attachments that are lost one after the other, by the numbers of their mappings, look like a Cinder whose database
    came back from a backup. The youngest mapping is one that has its attachment, if the server has another.
    """
    for database in CELLS.values():
        with home.connect(database) as connection:
            for number, server in connection.execute(_select_live(where)).all():
                siblings = _select_live({"instance_uuid": server}).where(_MAPPING.c.id != number).limit(1)
                sibling = connection.execute(siblings).scalar()
                for each in (number, sibling):
                    # In one statement: others may be broken at the same time.
                    numbers = sa.select(_MAPPING.c.id).subquery()
                    far = sa.select(sa.func.max(numbers.c.id) + _FAR).scalar_subquery()
                    connection.execute(sa.update(_MAPPING).where(_MAPPING.c.id == each).values(id=far))


def _select_live(where: dict[str, str]) -> sa.Select[tuple[int, str]]:
    live = sa.select(_MAPPING.c.id, _MAPPING.c.instance_uuid).where(_MAPPING.c.deleted == 0)
    return live.where(*(_MAPPING.c[column] == value for column, value in where.items()))


def _read(home: Home, database: str, tables: tuple[str, ...]) -> dict[str, list[Row]]:
    try:
        return _read_once(home, database, tables)
    except sa.exc.OperationalError as error:
        # SQLite answered the second statement of a connection so in two long runs of the tests, at the same place, and
        # in no shorter one; all that followed could be read.
        if "disk I/O error" not in str(error.orig):
            raise
        return _read_once(home, database, tables)


def _read_once(home: Home, database: str, tables: tuple[str, ...]) -> dict[str, list[Row]]:
    with home.connect(database) as connection:
        selects = {table: sa.text(f"SELECT {_COLUMNS[table]} FROM {table}") for table in tables}
        return {
            table: [dict(row) for row in connection.execute(select).mappings()] for table, select in selects.items()
        }
