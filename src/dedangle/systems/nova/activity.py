# SPDX-License-Identifier: Apache-2.0
"""Operations in progress on a server, from a cell's database: actions, events, migrations, a lock."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta

import sqlalchemy as sa

from dedangle.core.records import Marker
from dedangle.core.work import MIGRATION_FAILED, MIGRATION_OVER, REFRESH_LOCK
from dedangle.systems.nova import schema
from dedangle.systems.nova.actions import ACTION
from dedangle.systems.nova.rows import utc

# Actions that Nova records before it sends the message to the host, without a task_state.
_WITHOUT_TASK_STATE = ("attach_volume", "detach_volume", "swap_volume", "refresh_volume_attachment")
# Actions that Nova only starts on a server without a task_state.
_EXCLUSIVE = (
    *("start", "stop", "pause", "unpause", "suspend", "resume", "shelve", "unshelve", "rescue", "unrescue"),
    *("resize", "migrate", "rebuild", "live-migration"),
)
_LOCKED = ("stop", "reboot")
_UNSTARTED_FOR = timedelta(hours=1)


def markers(connection: sa.Connection, server_ids: Collection[str], now: datetime) -> Iterator[tuple[str, Marker]]:
    """Yield every operation that Nova has started on the servers and not ended; `now` is UTC without a time zone."""
    yield from _events(connection, server_ids)
    yield from _unstarted(connection, server_ids, now)
    moves = schema.migrations
    changed = sa.func.coalesce(moves.c.updated_at, moves.c.created_at).label("since")
    moving = sa.select(moves.c.instance_uuid, moves.c.id, moves.c.migration_type, moves.c.status, changed).where(
        moves.c.instance_uuid.in_(server_ids), moves.c.deleted == 0, moves.c.status.not_in(MIGRATION_OVER)
    )
    for row in connection.execute(moving.order_by(moves.c.id)):
        detail = f"{row.id} ({row.migration_type}) is {row.status}"
        yield row.instance_uuid, Marker(kind="migration", detail=detail, since=utc(row.since))
    metadata = schema.instance_system_metadata
    locked_at = sa.func.coalesce(metadata.c.updated_at, metadata.c.created_at).label("since")
    locked = sa.select(metadata.c.instance_uuid, metadata.c.value, locked_at).where(
        metadata.c.instance_uuid.in_(server_ids), metadata.c.key == "locked_reason", metadata.c.deleted == 0
    )
    for row in connection.execute(locked):
        if row.value and row.value.startswith(REFRESH_LOCK):
            detail = "of nova-manage volume_attachment refresh"
            yield row.instance_uuid, Marker(kind="lock", detail=detail, since=utc(row.since))


def last_actions(connection: sa.Connection, server_ids: Collection[str]) -> Iterator[tuple[str, datetime | None]]:
    """Yield when Nova's newest action on each server was started or updated."""
    table = schema.instance_actions
    statement = sa.select(table.c.instance_uuid, sa.func.max(table.c.start_time), sa.func.max(table.c.updated_at))
    statement = statement.where(table.c.instance_uuid.in_(server_ids), _is_novas()).group_by(table.c.instance_uuid)
    for server_id, *times in connection.execute(statement):
        yield server_id, utc(max((each for each in times if each), default=None))


def live_migrations_failed(
    connection: sa.Connection, server_ids: Collection[str]
) -> Iterator[tuple[str, datetime | None]]:
    """Yield when the newest failed live migration of each server was last updated."""
    moves = schema.migrations
    changed = sa.func.max(sa.func.coalesce(moves.c.updated_at, moves.c.created_at))
    failed = sa.select(moves.c.instance_uuid, changed).where(
        # Not only rows with deleted = 0: Nova soft-deletes the migrations of a server together with it.
        moves.c.instance_uuid.in_(server_ids),
        moves.c.migration_type == "live-migration",
        moves.c.status.in_(MIGRATION_FAILED),
    )
    for server_id, moment in connection.execute(failed.group_by(moves.c.instance_uuid)):
        yield server_id, utc(moment)


def _events(connection: sa.Connection, server_ids: Collection[str]) -> Iterator[tuple[str, Marker]]:
    actions, events = schema.instance_actions, schema.instance_actions_events
    joined = sa.join(events, actions, events.c.action_id == actions.c.id)
    statement = sa.select(
        actions.c.instance_uuid, events.c.event, actions.c.action, actions.c.request_id, events.c.start_time
    )
    of_servers = actions.c.instance_uuid.in_(server_ids)
    unfinished = sa.and_(of_servers, events.c.finish_time.is_(None), _is_novas(), ~_is_past())
    for row in connection.execute(statement.select_from(joined).where(unfinished).order_by(events.c.id)):
        detail = f"{row.event} of {row.action} ({row.request_id}) is not finished"
        yield row.instance_uuid, Marker(kind="event", detail=detail, since=utc(row.start_time))


def _unstarted(connection: sa.Connection, server_ids: Collection[str], now: datetime) -> Iterator[tuple[str, Marker]]:
    actions, events = schema.instance_actions, schema.instance_actions_events
    started = sa.exists().where(events.c.action_id == actions.c.id)
    statement = (
        sa.select(actions.c.instance_uuid, actions.c.action, actions.c.request_id)
        .where(actions.c.instance_uuid.in_(server_ids), actions.c.action.in_(_WITHOUT_TASK_STATE))
        .where(actions.c.finish_time.is_(None), actions.c.start_time > now - _UNSTARTED_FOR, ~started)
    )
    for row in connection.execute(statement.order_by(actions.c.id)):
        detail = f"{row.action} ({row.request_id}) has not reached its host"
        yield row.instance_uuid, Marker(kind="action", detail=detail)


def _is_past() -> sa.ColumnElement[bool]:
    """Whether an event without a finish time has ended, although its nova-compute did not record it.

    This is so if the same event of the same action finished later, as after a retry. It is also so if Nova later
    started an exclusive action, which it refuses while a task_state is set (nova/compute/api.py:check_instance_state).
    An event without task_state may go on, until another action that takes the instance lock has finished, because
    attach, detach and swap take this lock too (nova/compute/manager.py).
    """
    actions, events = schema.instance_actions, schema.instance_actions_events
    again, later = events.alias("again"), actions.alias("later")
    ended_later = sa.exists().where(
        again.c.action_id == events.c.action_id,
        again.c.event == events.c.event,
        again.c.finish_time > events.c.start_time,
    )
    is_later = (later.c.instance_uuid == actions.c.instance_uuid, later.c.start_time > events.c.start_time)
    followed = sa.exists().where(
        *is_later, later.c.action.in_(_EXCLUSIVE), actions.c.action.not_in(_WITHOUT_TASK_STATE)
    )
    freed = sa.exists().where(
        *is_later, later.c.id == again.c.action_id, later.c.action.in_(_LOCKED), again.c.finish_time.is_not(None)
    )
    return sa.or_(ended_later, followed, freed)


def _is_novas() -> sa.ColumnElement[bool]:
    # dedangle's own actions are not work of Nova; actions.py reads them separately.
    return schema.instance_actions.c.action != ACTION
