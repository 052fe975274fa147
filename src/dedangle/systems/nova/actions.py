# SPDX-License-Identifier: Apache-2.0
"""Instance actions, so that `openstack server event list` shows users what dedangle changed on their server."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from dedangle.core.records import Marker, Reading, Refusal, Server
from dedangle.systems.nova import schema
from dedangle.systems.nova.cells import Cell

ACTION = "dedangle_cleanup"
# An action is only open during a few writes. An older open action belongs to a killed run and is ignored.
_OPEN_FOR = timedelta(minutes=10)


class InstanceActions:
    """The actions of one run, one for each server that it changes. The request id contains the id of the run."""

    def __init__(self, cells: Iterable[Cell], *, run_id: str, clock: Callable[[], datetime]) -> None:
        self._cells = {cell.name: cell for cell in cells}
        self._request_id = f"req-dedangle-{run_id}"
        self._clock = clock

    def begin(self, server: Server) -> Reading[Marker]:
        """Record that this run will change the server, or return the other runs that are changing it now.

        Each run first commits its record and then reads those of other runs. If two runs do this at the same time, on
        any nodes of a cluster, at least one of them sees the other and stops; both may stop. Nothing is recorded for
        an archived server, because nobody can list its actions.
        """
        actions, events, servers = schema.instance_actions, schema.instance_actions_events, schema.instances
        now = self._now()
        times = {"created_at": now, "start_time": now}
        of_action = {"action": ACTION, "request_id": self._request_id, "updated_at": now}
        of_event = {"event": ACTION}

        def write(connection: sa.Connection) -> None:
            # If a committed write had no answer, it is written again and changes nothing.
            known = sa.select(servers.c.uuid, servers.c.project_id).where(
                servers.c.uuid == server.id, ~sa.exists(self._open([server.id])), ~sa.exists(self._own(server))
            )
            _insert(connection, actions, {**times, **of_action}, ("instance_uuid", "project_id"), known)
            begun = events.alias("begun")
            without_event = self._own(server).where(~sa.exists().where(begun.c.action_id == actions.c.id))
            _insert(connection, events, {**times, **of_event}, ("action_id",), without_event)

        # Cinder answers 202 to every deletion of an attachment, so only one of two runs may reach this point.
        written = self._cells[server.cell].write(write).reading
        if not written.complete:
            return Reading.unread(written.why)
        answer = self._cells[server.cell].ask(lambda connection: list(self.others(connection, [server.id])))()
        others = tuple(marker for found in answer.rows for _, marker in found)
        if others:
            self.finish(server, succeeded=False, details=f"not begun: {others[0].detail}")
        return Reading(others, answer.complete, answer.why)

    def finish(self, server: Server, *, succeeded: bool, details: str) -> Refusal | None:
        """Record the outcome, with details that administrators see; return why it could not be recorded."""
        actions, events = schema.instance_actions, schema.instance_actions_events
        now = self._now()
        ended = {"finish_time": now, "updated_at": now}

        def write(connection: sa.Connection) -> None:
            # The same values as in nova/objects/instance_action.py:pack_action_event_finish and compute/api.py.
            result = {"result": "Success" if succeeded else "Error", "details": details}
            event = sa.update(events).where(events.c.action_id.in_(self._own(server)), events.c.finish_time.is_(None))
            connection.execute(event.values({**ended, **result}))
            action = sa.update(actions).where(
                actions.c.instance_uuid == server.id, actions.c.request_id == self._request_id
            )
            connection.execute(action.values({**ended, "message": None if succeeded else "Error"}))

        written = self._cells[server.cell].write(write).reading
        return None if written.complete else Refusal(written.why)

    def others(self, connection: sa.Connection, server_ids: Collection[str]) -> Iterator[tuple[str, Marker]]:
        """Yield the other runs that are changing one of the servers now, each with its server."""
        for row in connection.execute(self._open(server_ids)):
            detail = f"{row.request_id} of dedangle is changing the server"
            yield row.instance_uuid, Marker(kind="run", detail=detail)

    def _open(self, server_ids: Collection[str]) -> sa.Select[Any]:
        # An alias, because the statement inserts into the same table.
        actions = schema.instance_actions.alias("open_actions")
        return sa.select(actions.c.instance_uuid, actions.c.request_id).where(
            actions.c.instance_uuid.in_(server_ids),
            actions.c.action == ACTION,
            actions.c.finish_time.is_(None),
            actions.c.start_time > self._now() - _OPEN_FOR,
            actions.c.request_id != self._request_id,
        )

    def _own(self, server: Server) -> sa.Select[Any]:
        actions = schema.instance_actions
        return sa.select(actions.c.id).where(
            actions.c.instance_uuid == server.id, actions.c.request_id == self._request_id
        )

    def _now(self) -> datetime:
        return self._clock().replace(tzinfo=None)


def _insert(
    connection: sa.Connection, table: sa.Table, values: dict[str, Any], more: tuple[str, ...], rows: sa.Select[Any]
) -> None:
    """Insert the values once for each of the rows; the rows have the columns in `more`."""
    given = [sa.literal(value, table.c[name].type) for name, value in values.items()]
    names = [*more, *values, "deleted"]
    connection.execute(sa.insert(table).from_select(names, rows.add_columns(*given, sa.literal(0, sa.Integer))))
