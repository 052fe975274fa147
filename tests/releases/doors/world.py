# SPDX-License-Identifier: Apache-2.0
"""Servers, volumes and what joins them as rows of this release's own tables, to be planted and to be looked at."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import sqlalchemy as sa

HOST = "compute1"
PROJECT = "0123456789abcdef0123456789abcdef"
LONG_AGO = "2026-01-01 00:00:00.000000"
RUNNING, SHUTDOWN, NO_STATE = 1, 4, 0
"""Nova's power states."""


@dataclass(frozen=True)
class Pair:
    """A server and a volume, and the attachment that joins them, or once did."""

    server: str
    volume: str
    attachment: str


class World:
    """The databases of the URLs, which are given by name."""

    def __init__(self, urls: dict[str, str]) -> None:
        self._engines = {name: sa.create_engine(url) for name, url in urls.items()}
        with self._engines["cinder"].connect() as cinder:
            self._volume_type = cinder.execute(sa.text("SELECT id FROM volume_types")).scalars().first()
        with self._engines["nova_api"].connect() as api:
            cells = sa.text("SELECT id FROM cell_mappings WHERE name = 'cell1'")
            self._cell = api.execute(cells).scalars().first()
        now = f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S.%f}"
        service = {"host": HOST, "binary": "nova-compute", "topic": "compute", "version": 66, "report_count": 1}
        seen = {"disabled": False, "forced_down": False, "last_seen_up": now, "uuid": _ident()}
        self._insert("nova", "services", **service, **seen)

    def healthy(self) -> Pair:
        """A running server with its volume, as both sides have it."""
        pair = Pair(self._server("active", RUNNING), self._volume("in-use"), _ident())
        self._map(pair)
        self._attach(pair, "attached")
        return pair

    def lost_attachment(self, *, offloaded: bool = False) -> Pair:
        """A stopped server, or a shelved one, whose attachment was deleted behind Nova's back."""
        server = self._server("shelved_offloaded", SHUTDOWN, None) if offloaded else self._server("stopped", SHUTDOWN)
        pair = Pair(server, self._volume("available"), _ident())
        self._map(pair)
        self._attach(pair, "detached", deleted=True)
        return pair

    def mapped_by_deleted_server(self) -> Pair:
        """A server that was deleted, and its mapping that was not, nor its attachment, which is reserved."""
        pair = Pair(self._server("deleted", NO_STATE, deleted=True), self._volume("reserved"), _ident())
        self._map(pair)
        self._attach(pair, "reserved")
        return pair

    def never_used(self) -> Pair:
        """A running server, and a volume that is reserved for it of which Nova knows nothing."""
        pair = Pair(self._server("active", RUNNING), self._volume("reserved"), _ident())
        self._attach(pair, "reserved")
        return pair

    def foreign(self) -> Pair:
        """An attachment for an id that Nova never knew."""
        pair = Pair(_ident(), self._volume("reserved"), _ident())
        self._attach(pair, "reserved")
        return pair

    def mappings(self, server: str) -> list[dict[str, Any]]:
        """The server's live mappings."""
        statement = sa.text("SELECT * FROM block_device_mapping WHERE instance_uuid = :server AND deleted = 0")
        with self._engines["nova"].connect() as connection:
            return [dict(row) for row in connection.execute(statement, {"server": server}).mappings()]

    def mapping(self, pair: Pair) -> dict[str, Any]:
        return self._row("nova", "block_device_mapping", "attachment_id", pair.attachment)

    def attachment(self, pair: Pair) -> dict[str, Any]:
        return self._row("cinder", "volume_attachment", "id", pair.attachment)

    def volume(self, pair: Pair) -> dict[str, Any]:
        return self._row("cinder", "volumes", "id", pair.volume)

    def actions(self, server: str) -> list[str]:
        """The names of the server's instance actions, each with the results of its events."""
        statement = sa.text(
            "SELECT a.action, e.result FROM instance_actions a JOIN instance_actions_events e ON e.action_id = a.id "
            "WHERE a.instance_uuid = :server ORDER BY e.id"
        )
        with self._engines["nova"].connect() as connection:
            return [f"{row.action}: {row.result}" for row in connection.execute(statement, {"server": server})]

    def _server(self, vm_state: str, power_state: int, host: str | None = HOST, *, deleted: bool = False) -> str:
        ident = _ident()
        made = {"host": host, "node": host, "image_ref": _ident(), "root_device_name": "/dev/vda", "hidden": False}
        owner = {"project_id": PROJECT, "display_name": "a server", "launched_at": LONG_AGO}
        state = {"vm_state": vm_state, "power_state": power_state, "deleted_at": LONG_AGO if deleted else None}
        self._insert("nova", "instances", deleted=deleted, uuid=ident, **made, **owner, **state)
        if not deleted:
            self._insert("nova_api", "instance_mappings", instance_uuid=ident, cell_id=self._cell, project_id=PROJECT)
        return ident

    def _volume(self, status: str) -> str:
        ident = _ident()
        kind = {"volume_type_id": self._volume_type, "use_quota": True, "size": 1, "host": "storage@rbd#pool"}
        attached = "attached" if status == "in-use" else "detached"
        state = {"status": status, "attach_status": attached, "project_id": PROJECT, "multiattach": False}
        self._insert("cinder", "volumes", id=ident, bootable=False, **kind, **state)
        return ident

    def _map(self, pair: Pair) -> None:
        names = {"uuid": _ident(), "instance_uuid": pair.server, "attachment_id": pair.attachment}
        disk = {"volume_id": pair.volume, "source_type": "volume", "destination_type": "volume", "boot_index": None}
        rest = {"device_name": "/dev/vdb", "connection_info": '{"driver_volume_type": "rbd"}'}
        self._insert("nova", "block_device_mapping", **names, **disk, **rest)

    def _attach(self, pair: Pair, status: str, *, deleted: bool = False) -> None:
        names = {"id": pair.attachment, "volume_id": pair.volume, "instance_uuid": pair.server}
        reserved = status == "reserved"
        host = {
            "attached_host": None if reserved else HOST,
            "connection_info": None if reserved else '{"driver_volume_type": "rbd"}',
            "connector": None if reserved else f'{{"host": "{HOST}"}}',
        }
        state = {"attach_status": status, "attach_mode": "rw", "deleted_at": LONG_AGO if deleted else None}
        self._insert("cinder", "volume_attachment", deleted=deleted, **names, **host, **state)

    def _insert(self, database: str, table: str, **values: Any) -> None:
        if database != "nova_api":
            values = {"deleted": False, **values}
        row = {**values, "created_at": LONG_AGO}
        with self._engines[database].begin() as connection:
            connection.execute(sa.insert(sa.table(table, *map(sa.column, row))).values(row))

    def _row(self, database: str, table: str, key: str, ident: str) -> dict[str, Any]:
        with self._engines[database].connect() as connection:
            found = connection.execute(sa.text(f"SELECT * FROM {table} WHERE {key} = :ident"), {"ident": ident})
            return dict(found.mappings().one())


def _ident() -> str:
    return str(uuid.uuid4())
