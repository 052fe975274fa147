# SPDX-License-Identifier: Apache-2.0
"""The Nova port for the command and the sweep: the API database and every cell, with cell0."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from collections.abc import Mapping as MappingType
from datetime import datetime, timedelta
from typing import Any, TypeVar

import sqlalchemy as sa

from dedangle.core import links
from dedangle.core.decisions import Outcome
from dedangle.core.observations import NovaView
from dedangle.core.packing import Page
from dedangle.core.pairing import newest
from dedangle.core.records import Attachment, BlockDeviceMapping, HostState, Link, NamedServer, Reading, Server
from dedangle.systems.nova import fleet, schema
from dedangle.systems.nova import homes as nova_homes
from dedangle.systems.nova import links as nova_links
from dedangle.systems.nova import mappings as nova_mappings
from dedangle.systems.nova import parts as nova_parts
from dedangle.systems.nova import rows as nova_rows
from dedangle.systems.nova.actions import InstanceActions
from dedangle.systems.nova.cells import Cell
from dedangle.systems.nova.parts import Part

T = TypeVar("T")

_WORST_FIRST = (HostState.DOWN, HostState.UP, HostState.GONE)


class NovaDatabase:
    """Reads and soft-deletes with SQLAlchemy Core, in all cells at the same time."""

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
        self._compute_hosts: Reading[str] | None = None

    def read_live(self, server_id: str) -> NovaView:
        # A query costs one round trip in any case, so operations in progress are read too.
        return self.observe(server_id)

    def observe(self, server_id: str) -> NovaView:
        (view,) = self.observe_many([server_id]).values()
        return view

    def observe_many(self, server_ids: Collection[str]) -> dict[str, NovaView]:
        """Read the servers from the API database and every cell, with as many statements as for one.

        `unread` names each cell that does not answer, unless only another cell can have rows of the server.
        """
        ids = list(server_ids)
        answers = self._ask_every_cell(lambda connection, cell: self._parts(connection, cell, ids))
        placed = self._api.ask(lambda connection: nova_homes.homes(connection, ids))()
        return {server_id: self._view(server_id, placed, answers) for server_id in ids}

    def _view(
        self, server_id: str, placed: Reading[dict[str, nova_homes.Home]], answers: dict[str, Reading[dict[str, Part]]]
    ) -> NovaView:
        of_cells = {name: part for name, answer in answers.items() for part in answer.rows}
        homes = [home[server_id] for home in placed.rows]
        unread = {name: answer.why for name, answer in answers.items() if not answer.complete}
        parts = {name: found[server_id] for name, found in of_cells.items()}
        has_sole_home = any(
            part.is_sole_home and self._cells[name].id in {home.cell_id for home in homes}
            for name, part in parts.items()
        )
        silent = [why for name, why in unread.items() if self._cells[name].is_cell0 or not has_sole_home]
        mappings = [mapping for part in parts.values() for mapping in part.mappings]
        hosts = [host for part in parts.values() for host in part.hosts]
        states = [host.state for host in hosts]
        return NovaView(
            server_id=server_id,
            servers=tuple(server for part in parts.values() for server in part.servers),
            mappings=tuple(mapping for mapping in mappings if not mapping.deleted),
            tombstones=tuple(mapping for mapping in mappings if mapping.deleted),
            building=any(home.building for home in homes),
            requested_at=newest(home.requested_at for home in homes),
            markers=tuple(marker for part in parts.values() for marker in part.markers),
            host_state=next((state for state in _WORST_FIRST if state in states), HostState.NONE),
            host_down_since=newest(host.reported_at for host in hosts if host.state is HostState.DOWN),
            last_action_at=newest(part.last_action_at for part in parts.values()),
            live_migration_failed_at=newest(part.live_migration_failed_at for part in parts.values()),
            unread=(*(() if placed.complete else (placed.why,)), *silent),
        )

    def other_servers_bdms(self, volume_ids: Collection[str], except_server: str) -> Reading[BlockDeviceMapping]:
        """Return the mappings of the volumes, live and soft-deleted, of other servers in every cell."""
        table = schema.block_device_mapping
        statement = nova_rows.mappings().where(
            table.c.volume_id.in_(sorted(volume_ids)), table.c.instance_uuid != except_server
        )
        reading = self._from_every_cell(
            lambda connection, cell: [nova_rows.mapping(row, cell) for row in connection.execute(statement).mappings()]
        )
        rows = sorted(reading.rows, key=lambda bdm: (bdm.cell, bdm.id))
        return Reading(tuple(rows), reading.complete, reading.why)

    def links(self, except_server: str, near: Collection[BlockDeviceMapping] = ()) -> Reading[Link]:
        """Return the neighbours of each mapping in `near`, four on each side, and the newest of active servers.

        At most two of the newest ones are of the same project, and there are at most eight.
        """
        return self.links_of_many({except_server: near})[except_server]

    def links_of_many(self, near: MappingType[str, Collection[BlockDeviceMapping]]) -> dict[str, Reading[Link]]:
        """Return the links of each server; one statement reads the neighbours of 50 mappings."""

        def read(connection: sa.Connection, cell: str) -> list[tuple[str, Link]]:
            numbers = [
                (server_id, mapping.id)
                for server_id, found in near.items()
                for mapping in found
                if mapping.cell == cell
            ]
            beside = nova_links.neighbours(connection, cell, sorted(numbers))
            return [*beside, *(("", link) for link in nova_links.youngest(connection, cell))]

        reading = self._from_every_cell(read)
        beside: dict[str, list[Link]] = {}
        for server_id, link in reading.rows:
            beside.setdefault(server_id, []).append(link)
        found = {}
        for server_id in near:
            by_cell = ([link for link in beside.get("", ()) if link.cell == cell] for cell in self._cells)
            youngest = [link for some in by_cell for link in nova_links.youngest_of_others(some, server_id)]
            nearest = beside.get(server_id, ()) if server_id else ()
            rows = dict.fromkeys((*nearest, *links.of_many_projects(youngest)))
            found[server_id] = Reading(tuple(rows), reading.complete, reading.why)
        return found

    def compute_hosts(self) -> Reading[str]:
        """Return the hosts that have or had a nova-compute. Read once, because few hosts are added during a run."""
        if self._compute_hosts is None or not self._compute_hosts.complete:
            self._compute_hosts = self._from_every_cell(lambda connection, _: fleet.compute_hosts(connection))
        return self._compute_hosts

    def knows(self, attachments: Collection[Attachment]) -> Reading[str]:
        """Return the ids of those attachments that any mapping names, live, soft-deleted or archived."""
        live = self._that_name(schema.block_device_mapping, attachments)
        unexplained = [attachment for attachment in attachments if attachment.id not in live.rows]
        if not live.complete or not unexplained:
            return live
        # Archived rows have only the primary key as index, so they are read only if no other row explains it.
        archived = self._that_name(schema.shadow_block_device_mapping, unexplained)
        return Reading((*live.rows, *archived.rows), archived.complete, archived.why)

    def archived_bdms(self, attachments: Collection[Attachment]) -> Reading[BlockDeviceMapping]:
        """Return the archived mappings, of any server, that name one of the attachments. Reads the whole table."""
        table = schema.shadow_block_device_mapping
        named = table.c.attachment_id.in_(sorted(attachment.id for attachment in attachments))
        return self._from_every_cell(
            lambda connection, cell: [
                nova_rows.mapping(row, cell)
                for row in connection.execute(nova_rows.mappings(table).where(named)).mappings()
            ]
        )

    def _that_name(self, table: sa.Table, attachments: Collection[Attachment]) -> Reading[str]:
        reading = self._from_every_cell(lambda connection, _: nova_links.named(connection, table, attachments))
        return Reading(tuple(dict.fromkeys(reading.rows)), reading.complete, reading.why)

    def servers(self, server_ids: Collection[str]) -> Reading[Server]:
        if not server_ids:
            return Reading()
        table = schema.instances
        statement = sa.select(table).where(table.c.uuid.in_(sorted(server_ids)))
        reading = self._from_every_cell(
            lambda connection, cell: [nova_rows.server(row, cell) for row in connection.execute(statement).mappings()]
        )
        rows = sorted(reading.rows, key=lambda server: server.id)
        return Reading(tuple(rows), reading.complete, reading.why)

    @property
    def cell0(self) -> str | None:
        return next((name for name, cell in self._cells.items() if cell.is_cell0), None)

    @property
    def cell_names(self) -> tuple[str, ...]:
        return tuple(self._cells)

    def hosts(self) -> Reading[str]:
        reading = self._from_every_cell(lambda connection, _: fleet.hosts(connection))
        return Reading(tuple(sorted(set(reading.rows))), reading.complete, reading.why)

    def has_project(self, project_id: str) -> Reading[bool]:
        return self._from_every_cell(lambda connection, _: [fleet.has_project(connection, project_id)])

    def bulk(self) -> dict[str, Iterator[Reading[Page]]]:
        """Return every live server and volume mapping, for each cell separately."""
        return {name: fleet.pages(cell) for name, cell in self._cells.items()}

    def leave_out(self, cell: str, why: str) -> None:
        """Skip a cell that does not answer, because each query would wait for its timeout."""
        self._silent[cell] = why

    def at_home(self, server_ids: Collection[str]) -> Reading[str]:
        """Return those of the servers that Nova has in a cell that is not skipped."""
        cells = {cell.id for name, cell in self._cells.items() if name not in self._silent}
        answer = self._api.ask(lambda connection: nova_homes.at_home(connection, server_ids, cells))()
        return Reading(tuple(row for found in answer.rows for row in found), answer.complete, answer.why)

    def mappings_of_project(self, project_id: str, counts: Callable[[str], bool], most: float) -> Reading[int]:
        """Return one number for each cell, one cell after the other, until their sum is `most` or more."""
        found: list[int] = []
        for name, cell in self._cells.items():
            if name in self._silent or sum(found) >= most:
                continue
            answer = fleet.mappings_of_project(cell, project_id, counts, most - sum(found))
            if not answer.complete:
                return answer
            found += answer.rows
        return Reading(tuple(found))

    def named(self, names: Collection[str]) -> Reading[NamedServer]:
        """Return the live servers with one of the names, with one pass over the servers of each cell."""
        return self._from_every_cell(lambda connection, cell: fleet.named(connection, cell, names))

    def servers_beginning_with(self, short_id: str) -> Reading[str]:
        bdms = schema.block_device_mapping.c.instance_uuid
        return self._beginning_with(short_id, schema.instances.c.uuid, schema.shadow_instances.c.uuid, bdms)

    def volumes_beginning_with(self, short_id: str) -> Reading[str]:
        return self._beginning_with(short_id, schema.block_device_mapping.c.volume_id)

    def _beginning_with(self, short_id: str, *columns: sa.Column[Any]) -> Reading[str]:
        reading = self._from_every_cell(lambda connection, _: fleet.beginning_with(connection, short_id, columns))
        return Reading(tuple(sorted(set(reading.rows))), reading.complete, reading.why)

    def soft_delete_mapping(self, expected: BlockDeviceMapping, server: Server | None) -> Outcome:
        return nova_mappings.soft_delete(self._cells[expected.cell], expected, server, self._moment())

    def connection_info(self, expected: BlockDeviceMapping) -> Reading[dict[str, Any]]:
        return nova_mappings.connection_info(self._cells[expected.cell], expected)

    def name_attachment(
        self,
        expected: BlockDeviceMapping,
        server: Server,
        attachment_id: str,
        connection_info: dict[str, Any] | None,
    ) -> Outcome:
        cell, now = self._cells[expected.cell], self._moment()
        return nova_mappings.name_attachment(cell, expected, server, attachment_id, connection_info, now)

    def restore_mapping(
        self,
        expected: BlockDeviceMapping,
        server: Server,
        attachment_id: str | None,
        connection_info: dict[str, Any] | None,
        *,
        multiattach: bool,
    ) -> Outcome:
        cell, now = self._cells[expected.cell], self._moment()
        return nova_mappings.restore(
            cell, expected, server, attachment_id, connection_info, now, multiattach=multiattach
        )

    def _now(self) -> datetime:
        return self._clock().replace(tzinfo=None)

    def _moment(self) -> datetime:
        """Return the time as exact as every database keeps it: what is written is compared with what is read."""
        return self._now().replace(microsecond=0)

    def _parts(self, connection: sa.Connection, cell: str, server_ids: Collection[str]) -> dict[str, Part]:
        return nova_parts.read(connection, cell, server_ids, self._actions, self._clock(), self._service_down_time)

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
