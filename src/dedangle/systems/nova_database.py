# SPDX-License-Identifier: Apache-2.0
"""Nova's databases: the API database and every cell, cell0 included."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

import sqlalchemy as sa

from dedangle.core import links
from dedangle.core.packing import Page
from dedangle.core.pairing import MIGRATION_FAILED, MIGRATION_OVER, REFRESH_LOCK, newest
from dedangle.core.records import (
    Attachment,
    HostState,
    Link,
    Mapping,
    Marker,
    NamedServer,
    NovaView,
    Outcome,
    Reading,
    Server,
)
from dedangle.systems import nova_fleet, nova_homes, nova_mappings
from dedangle.systems import nova_schema as schema
from dedangle.systems.nova_actions import ACTION, InstanceActions
from dedangle.systems.nova_cells import Cell

T = TypeVar("T")

# Actions that are recorded before a message is cast, on servers whose task_state says nothing.
_WITHOUT_TASK_STATE = ("attach_volume", "detach_volume", "swap_volume", "refresh_volume_attachment")
_UNSTARTED_FOR = timedelta(hours=1)

_WORST_FIRST = (HostState.DOWN, HostState.UP, HostState.GONE)


@dataclasses.dataclass
class _Part:
    """One cell's share of what is known of a server."""

    servers: list[Server] = dataclasses.field(default_factory=list)
    mappings: list[Mapping] = dataclasses.field(default_factory=list)
    markers: list[Marker] = dataclasses.field(default_factory=list)
    host_states: list[HostState] = dataclasses.field(default_factory=list)
    last_action_at: datetime | None = None
    live_migration_failed_at: datetime | None = None
    is_whole: bool = False
    """Whether no other cell can hold anything of the server, if it is at home in this one."""


class NovaDatabase:
    """Reads and soft-deletes through SQLAlchemy Core, all cells at once."""

    def __init__(
        self,
        api: Cell,
        cells: Sequence[Cell],
        *,
        actions: InstanceActions,
        service_down_time: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        self._api = api
        self._cells = {cell.name: cell for cell in cells}
        self._silent: dict[str, str] = {}
        self._actions = actions
        self._service_down_time = service_down_time
        self._clock = clock

    def glance(self, server_id: str) -> NovaView:
        # Asking a cell costs a round trip whatever is asked, and what is in flight is to be counted as such.
        return self.observe(server_id)

    def observe(self, server_id: str) -> NovaView:
        """Read the server from the API database and every cell.

        A silent cell is named in `unread`, unless the server is at home in another one that can hold it alone.
        """
        answers = self._ask_every_cell(lambda connection, cell: self._part(connection, cell, server_id))
        placed = self._api.ask(lambda connection: nova_homes.home(connection, server_id))()
        parts = [part for answer in answers.values() for part in answer.rows]
        mappings = [each for part in parts for each in part.mappings]
        states = [state for part in parts for state in part.host_states]
        return NovaView(
            server_id=server_id,
            servers=tuple(each for part in parts for each in part.servers),
            mappings=tuple(each for each in mappings if not each.deleted),
            tombstones=tuple(each for each in mappings if each.deleted),
            building=any(home.building for home in placed.rows),
            markers=tuple(each for part in parts for each in part.markers),
            host_state=next((each for each in _WORST_FIRST if each in states), HostState.NONE),
            last_action_at=newest(part.last_action_at for part in parts),
            live_migration_failed_at=newest(part.live_migration_failed_at for part in parts),
            unread=tuple(self._unread(placed, answers)),
        )

    def _unread(self, placed: Reading[nova_homes.Home], answers: dict[str, Reading[_Part]]) -> Iterator[str]:
        if not placed.complete:
            yield placed.why
        homes = {home.cell_id for home in placed.rows}
        whole = any(
            part.is_whole for name, answer in answers.items() if self._cells[name].id in homes for part in answer.rows
        )
        for name, answer in answers.items():
            if not answer.complete and (self._cells[name].is_cell0 or not whole):
                yield answer.why

    def rivals(self, volume_ids: Collection[str], besides: str) -> Reading[Mapping]:
        """Mappings of the volumes, live and soft-deleted, that other servers have, from every cell."""
        table = schema.block_device_mapping
        statement = _mappings().where(table.c.volume_id.in_(sorted(volume_ids)), table.c.instance_uuid != besides)
        return self._from_every_cell(
            lambda connection, cell: [_mapping(row, cell) for row in connection.execute(statement).mappings()]
        )

    def links(self, besides: str, near: Collection[Mapping] = ()) -> Reading[Link]:
        """Those near, and the youngest of active servers: at most two of a project, at most eight in all."""
        youngest = self._from_every_cell(lambda connection, cell: nova_fleet.youngest_links(connection, cell, besides))
        around = Reading[Link]()
        if near:
            around = self._from_every_cell(
                lambda connection, cell: nova_fleet.links_around(
                    connection, cell, besides, [each.id for each in near if each.cell == cell]
                )
            )
        # A mapping may be young and near.
        found = dict.fromkeys((*around.rows, *links.of_many_projects(youngest.rows)))
        why = "; ".join(filter(None, dict.fromkeys((around.why, youngest.why))))
        return Reading(tuple(found), youngest.complete and around.complete, why)

    def servers(self, server_ids: Collection[str]) -> Reading[Server]:
        if not server_ids:
            return Reading()
        table = schema.instances
        statement = sa.select(table).where(table.c.uuid.in_(sorted(server_ids)))
        return self._from_every_cell(
            lambda connection, cell: [_server(row, cell) for row in connection.execute(statement).mappings()]
        )

    def knows(self, attachments: Collection[Attachment]) -> Reading[str]:
        if not attachments:
            return Reading()
        return self._from_every_cell(lambda connection, _: nova_fleet.named_attachments(connection, attachments))

    @property
    def cell0(self) -> str | None:
        return next((name for name, cell in self._cells.items() if cell.is_cell0), None)

    def bulk(self) -> dict[str, Iterator[Reading[Page]]]:
        """Every live server and volume mapping, each cell's by itself."""
        return {name: nova_fleet.pages(cell) for name, cell in self._cells.items()}

    def leave_out(self, cell: str, why: str) -> None:
        """Do not ask a silent cell again: each question would take as long as its timeout."""
        self._silent[cell] = why

    def at_home(self, server_ids: Collection[str]) -> Reading[str]:
        """Those of the servers that Nova puts into a cell that is not left out."""
        cells = {cell.id for name, cell in self._cells.items() if name not in self._silent}
        answer = self._api.ask(lambda connection: nova_homes.at_home(connection, server_ids, cells))()
        return Reading(tuple(each for found in answer.rows for each in found), answer.complete, answer.why)

    def mappings_of_project(self, project_id: str, counts: Callable[[str], bool], most: float) -> Reading[int]:
        """One number for each cell that is read, one cell after the other, until they are enough."""
        found: list[int] = []
        for name, cell in self._cells.items():
            if name in self._silent or sum(found) >= most:
                continue
            answer = nova_fleet.mappings_of_project(cell, project_id, counts, most - sum(found))
            if not answer.complete:
                return answer
            found += answer.rows
        return Reading(tuple(found))

    def named(self, names: Collection[str]) -> Reading[NamedServer]:
        """Live servers with one of the names, from every cell; one pass over a cell's servers for all names."""
        return self._from_every_cell(lambda connection, cell: nova_fleet.named(connection, cell, names))

    def soft_delete_mapping(self, expected: Mapping, server: Server | None) -> Outcome:
        return nova_mappings.soft_delete(self._cells[expected.cell], expected, server, self._now())

    def relink_mapping(self, expected: Mapping, server: Server | None, attachment_id: str) -> Outcome:
        return nova_mappings.relink(self._cells[expected.cell], expected, server, attachment_id, self._now())

    def restore_mapping(
        self,
        expected: Mapping,
        server: Server,
        attachment_id: str | None,
        connected: dict[str, Any] | None,
        *,
        multiattach: bool,
    ) -> Outcome:
        cell, now = self._cells[expected.cell], self._now()
        return nova_mappings.restore(cell, expected, server, attachment_id, connected, now, multiattach=multiattach)

    def _now(self) -> datetime:
        return self._clock().replace(tzinfo=None)

    def _part(self, connection: sa.Connection, cell: str, server_id: str) -> _Part:
        part = _Part()
        for table in (schema.instances, schema.shadow_instances):
            rows = connection.execute(sa.select(table).where(table.c.uuid == server_id)).mappings()
            # An id that a user made up for Cinder, in capitals, is for MySQL's collation that of a server.
            part.servers += [_server(row, cell) for row in rows if row["uuid"] == server_id]
        of_server = _mappings().where(schema.block_device_mapping.c.instance_uuid == server_id)
        rows = connection.execute(of_server).mappings()
        part.mappings = [_mapping(row, cell) for row in rows if row["instance_uuid"] == server_id]
        part.markers = list(self._activity(connection, server_id))
        part.last_action_at = _last_action(connection, server_id)
        part.live_migration_failed_at = _last_failed_live_migration(connection, server_id)
        part.is_whole = nova_homes.is_whole(connection, server_id)
        for host in {each.host for each in part.servers if each.host}:
            part.host_states.append(self._host_state(connection, host))
        return part

    def _activity(self, connection: sa.Connection, server_id: str) -> Iterator[Marker]:
        actions, events, moves = schema.instance_actions, schema.instance_actions_events, schema.migrations
        of_server = actions.c.instance_uuid == server_id
        joined = sa.join(events, actions, events.c.action_id == actions.c.id)
        statement = sa.select(events.c.event, actions.c.action, actions.c.request_id, events.c.start_time)
        unfinished = sa.and_(of_server, events.c.finish_time.is_(None), _is_novas())
        for row in connection.execute(statement.select_from(joined).where(unfinished)):
            yield Marker(kind="event", detail=f"{row.event} of {row.action} ({row.request_id}) is not finished")
        yield from self._actions.others(connection, server_id)
        started = sa.exists().where(events.c.action_id == actions.c.id)
        since = self._now() - _UNSTARTED_FOR
        unstarted = (
            sa.select(actions.c.action, actions.c.request_id)
            .where(of_server, actions.c.action.in_(_WITHOUT_TASK_STATE), actions.c.finish_time.is_(None))
            .where(actions.c.start_time > since, ~started)
        )
        for row in connection.execute(unstarted):
            yield Marker(kind="action", detail=f"{row.action} ({row.request_id}) has not reached its host")
        moving = sa.select(moves.c.id, moves.c.migration_type, moves.c.status).where(
            moves.c.instance_uuid == server_id, moves.c.deleted == 0, moves.c.status.not_in(MIGRATION_OVER)
        )
        for row in connection.execute(moving):
            yield Marker(kind="migration", detail=f"{row.id} ({row.migration_type}) is {row.status}")
        metadata = schema.instance_system_metadata
        locked = sa.select(metadata.c.value).where(
            metadata.c.instance_uuid == server_id, metadata.c.key == "locked_reason", metadata.c.deleted == 0
        )
        for reason in connection.execute(locked).scalars():
            if reason and reason.startswith(REFRESH_LOCK):
                yield Marker(kind="lock", detail="of nova-manage volume_attachment refresh")

    def _host_state(self, connection: sa.Connection, host: str) -> HostState:
        table = schema.services
        statement = sa.select(table.c.forced_down, table.c.last_seen_up, table.c.created_at).where(
            table.c.host == host, table.c.binary == "nova-compute", table.c.deleted == 0
        )
        row = connection.execute(statement).first()
        if row is None:
            return HostState.GONE
        seen = _utc(row.last_seen_up or row.created_at)
        alive = seen is not None and abs(self._clock() - seen) <= self._service_down_time
        return HostState.UP if alive and not row.forced_down else HostState.DOWN

    def _ask_every_cell(self, question: Callable[[sa.Connection, str], T]) -> dict[str, Reading[T]]:
        def of(cell: Cell) -> Callable[[], Reading[T]]:
            if cell.name in self._silent:
                return lambda: Reading.unread(self._silent[cell.name])
            return cell.ask(lambda connection: question(connection, cell.name))

        asked = {name: of(cell) for name, cell in self._cells.items()}
        return {name: answer() for name, answer in asked.items()}

    def _from_every_cell(self, read: Callable[[sa.Connection, str], list[T]]) -> Reading[T]:
        answers = self._ask_every_cell(read).values()
        return Reading(
            tuple(row for answer in answers for rows in answer.rows for row in rows),
            all(answer.complete for answer in answers),
            "; ".join(answer.why for answer in answers if not answer.complete),
        )


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=timezone.utc) if moment else None


def _mappings() -> sa.Select[Any]:
    table = schema.block_device_mapping
    names = ("id", "uuid", "instance_uuid", "volume_id", "attachment_id", "source_type", "boot_index", "device_name")
    return sa.select(
        *(table.c[name] for name in (*names, "created_at", "updated_at", "deleted_at", "deleted")),
        table.c.connection_info.is_not(None).label("has_connection_info"),
        nova_mappings.version().label("version"),
    ).where(table.c.destination_type == "volume", table.c.volume_id.is_not(None))


def _server(row: sa.RowMapping, cell: str) -> Server:
    return Server(
        id=row["uuid"],
        cell=cell,
        project_id=row["project_id"] or "",
        host=row["host"],
        vm_state=row["vm_state"],
        task_state=row["task_state"],
        power_state=row["power_state"],
        # Never deleted_at: a server that waits for its reclaim (SOFT_DELETED) has it set and is alive.
        deleted=row["deleted"] != 0,
        hidden=bool(row["hidden"]),
        image_ref=row["image_ref"] or None,
        root_device_name=row["root_device_name"],
        launched_at=_utc(row["launched_at"]),
        deleted_at=_utc(row["deleted_at"]),
    )


def _mapping(row: sa.RowMapping, cell: str) -> Mapping:
    return Mapping(
        id=row["id"],
        uuid=row["uuid"],
        cell=cell,
        server_id=row["instance_uuid"],
        volume_id=row["volume_id"],
        attachment_id=row["attachment_id"],
        has_connection_info=bool(row["has_connection_info"]),
        source_type=row["source_type"],
        boot_index=row["boot_index"],
        device_name=row["device_name"],
        created_at=_utc(row["created_at"]),
        version=row["version"],
        changed_at=newest(_utc(row[name]) for name in ("created_at", "updated_at", "deleted_at")),
        deleted=row["deleted"] != 0,
    )


def _last_failed_live_migration(connection: sa.Connection, server_id: str) -> datetime | None:
    moves = schema.migrations
    statement = sa.select(sa.func.max(moves.c.updated_at), sa.func.max(moves.c.created_at)).where(
        moves.c.instance_uuid == server_id,
        moves.c.migration_type == "live-migration",
        moves.c.status.in_(MIGRATION_FAILED),
    )
    return newest(map(_utc, connection.execute(statement).one()))


def _is_novas() -> sa.ColumnElement[bool]:
    # Our own actions are no sign of somebody else's work, and what they tell is past when they are read.
    return schema.instance_actions.c.action != ACTION


def _last_action(connection: sa.Connection, server_id: str) -> datetime | None:
    table = schema.instance_actions
    statement = sa.select(sa.func.max(table.c.start_time), sa.func.max(table.c.updated_at))
    row = connection.execute(statement.where(table.c.instance_uuid == server_id, _is_novas())).one()
    return _utc(max((each for each in row if each), default=None))
