# SPDX-License-Identifier: Apache-2.0
"""Operations in progress on a server, from a cell's database: actions, events, migrations, a lock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import sqlalchemy as sa

from dedangle.core.pairing import MIGRATION_FAILED, MIGRATION_OVER, REFRESH_LOCK
from dedangle.core.records import Marker
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


def markers(connection: sa.Connection, server_id: str, now: datetime) -> Iterator[Marker]:
    """Yield every operation that Nova has started on the server and not ended; `now` is UTC without a time zone."""
    yield from _events(connection, server_id)
    yield from _unstarted(connection, server_id, now)
    moves = schema.migrations
    changed = sa.func.coalesce(moves.c.updated_at, moves.c.created_at).label("since")
    moving = sa.select(moves.c.id, moves.c.migration_type, moves.c.status, changed).where(
        moves.c.instance_uuid == server_id, moves.c.deleted == 0, moves.c.status.not_in(MIGRATION_OVER)
    )
    for row in connection.execute(moving):
        yield Marker(kind="migration", detail=f"{row.id} ({row.migration_type}) is {row.status}", since=utc(row.since))
    metadata = schema.instance_system_metadata
    locked = sa.select(metadata.c.value).where(
        metadata.c.instance_uuid == server_id, metadata.c.key == "locked_reason", metadata.c.deleted == 0
    )
    for reason in connection.execute(locked).scalars():
        if reason and reason.startswith(REFRESH_LOCK):
            yield Marker(kind="lock", detail="of nova-manage volume_attachment refresh")


def last_action(connection: sa.Connection, server_id: str) -> datetime | None:
    """Return when Nova's newest action on the server was started or updated."""
    table = schema.instance_actions
    statement = sa.select(sa.func.max(table.c.start_time), sa.func.max(table.c.updated_at))
    row = connection.execute(statement.where(table.c.instance_uuid == server_id, _is_novas())).one()
    return utc(max((each for each in row if each), default=None))


def live_migration_failed_at(connection: sa.Connection, server_id: str) -> datetime | None:
    """Return when the newest live migration that failed was last updated."""
    moves = schema.migrations
    changed = sa.func.max(sa.func.coalesce(moves.c.updated_at, moves.c.created_at))
    failed = sa.select(changed).where(
        # Not only rows with deleted = 0: Nova soft-deletes the migrations of a server together with it.
        moves.c.instance_uuid == server_id,
        moves.c.migration_type == "live-migration",
        moves.c.status.in_(MIGRATION_FAILED),
    )
    return utc(connection.execute(failed).scalar_one())


def _events(connection: sa.Connection, server_id: str) -> Iterator[Marker]:
    actions, events = schema.instance_actions, schema.instance_actions_events
    joined = sa.join(events, actions, events.c.action_id == actions.c.id)
    statement = sa.select(events.c.event, actions.c.action, actions.c.request_id, events.c.start_time)
    unfinished = sa.and_(actions.c.instance_uuid == server_id, events.c.finish_time.is_(None), _is_novas(), ~_is_past())
    for row in connection.execute(statement.select_from(joined).where(unfinished)):
        detail = f"{row.event} of {row.action} ({row.request_id}) is not finished"
        yield Marker(kind="event", detail=detail, since=utc(row.start_time))


def _unstarted(connection: sa.Connection, server_id: str, now: datetime) -> Iterator[Marker]:
    actions, events = schema.instance_actions, schema.instance_actions_events
    started = sa.exists().where(events.c.action_id == actions.c.id)
    statement = (
        sa.select(actions.c.action, actions.c.request_id)
        .where(actions.c.instance_uuid == server_id, actions.c.action.in_(_WITHOUT_TASK_STATE))
        .where(actions.c.finish_time.is_(None), actions.c.start_time > now - _UNSTARTED_FOR, ~started)
    )
    for row in connection.execute(statement):
        yield Marker(kind="action", detail=f"{row.action} ({row.request_id}) has not reached its host")


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
