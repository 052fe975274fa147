# SPDX-License-Identifier: Apache-2.0
"""Read what a cell has of many servers, with one statement for each table."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from datetime import datetime, timedelta

import sqlalchemy as sa

from dedangle.core.records import BlockDeviceMapping, Marker, Server
from dedangle.systems.nova import about, activity, homes, schema
from dedangle.systems.nova import rows as nova_rows
from dedangle.systems.nova.about import Liveness
from dedangle.systems.nova.actions import InstanceActions


@dataclasses.dataclass
class Part:
    """The rows of a server in one cell."""

    servers: list[Server] = dataclasses.field(default_factory=list)
    mappings: list[BlockDeviceMapping] = dataclasses.field(default_factory=list)
    markers: list[Marker] = dataclasses.field(default_factory=list)
    hosts: list[Liveness] = dataclasses.field(default_factory=list)
    last_action_at: datetime | None = None
    live_migration_failed_at: datetime | None = None
    is_sole_home: bool = False
    """Whether no other cell can have rows of the server, if it belongs to this cell."""


def read(
    connection: sa.Connection,
    cell: str,
    server_ids: Collection[str],
    actions: InstanceActions,
    clock: datetime,
    service_down_time: timedelta,
) -> dict[str, Part]:
    """Return the part of each server; `clock` is the time now, in UTC."""
    now = clock.replace(tzinfo=None)
    found = {server_id: Part() for server_id in server_ids}
    _read_rows(connection, cell, found)
    _read_activity(connection, found, actions, now)
    hosts = {server.host for part in found.values() for server in part.servers if server.host}
    states = about.liveness(connection, hosts, clock, service_down_time)
    for part in found.values():
        part.hosts = [states[host] for host in {server.host for server in part.servers} if host]
    return found


def _read_rows(connection: sa.Connection, cell: str, found: dict[str, Part]) -> None:
    # MySQL's collation ignores case, so an id in capitals, from a user of Cinder, matches another server.
    for table in (schema.instances, schema.shadow_instances):
        for row in connection.execute(sa.select(table).where(table.c.uuid.in_(list(found)))).mappings():
            if row["uuid"] in found:
                found[row["uuid"]].servers.append(nova_rows.server(row, cell))
    of_servers = nova_rows.mappings().where(schema.block_device_mapping.c.instance_uuid.in_(list(found)))
    for row in connection.execute(of_servers).mappings():
        if row["instance_uuid"] in found:
            found[row["instance_uuid"]].mappings.append(nova_rows.mapping(row, cell))


def _read_activity(connection: sa.Connection, found: dict[str, Part], actions: InstanceActions, now: datetime) -> None:
    ids = list(found)
    # Operations in progress count for every spelling of the id.
    parts: dict[str, list[Part]] = {}
    for server_id, part in found.items():
        parts.setdefault(server_id.lower(), []).append(part)
    for server_id, marker in [*activity.markers(connection, ids, now), *actions.others(connection, ids)]:
        for part in parts.get(server_id.lower(), ()):
            part.markers.append(marker)
    for server_id, moment in activity.last_actions(connection, ids):
        for part in parts.get(server_id.lower(), ()):
            part.last_action_at = moment
    for server_id, moment in activity.live_migrations_failed(connection, ids):
        for part in parts.get(server_id.lower(), ()):
            part.live_migration_failed_at = moment
    for server_id in homes.with_sole_home(connection, ids):
        for part in parts.get(server_id, ()):
            part.is_sole_home = True
