# SPDX-License-Identifier: Apache-2.0
"""Operations in progress on a server and its volumes: what shows them, and when they can no longer end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from dedangle.core.observations import Observation
from dedangle.core.records import Attachment, BlockDeviceMapping, Existence, HostState, Marker, Reading, Server, Volume
from dedangle.core.times import utc

# Statuses of a volume with an operation in progress (cinder/volume/api.py and its flows).
_TRANSITIONAL = (
    *("attaching", "detaching", "creating", "downloading", "uploading", "extending", "backing-up"),
    *("restoring-backup", "retyping", "maintenance", "awaiting-transfer", "deleting", "managing"),
)
# Cinder recalculates the status of a volume when an attachment is deleted. It may overwrite these statuses, but not
# another one (error, maintenance, ...) that an administrator has set (cinder/db/sqlalchemy/api.py:volume_detached).
SETTLED = ("available", "in-use", "reserved", "attaching", "detaching", "error_attaching", "error_detaching")
# From nova/db/main/api.py:migration_get_in_progress_by_host_and_node. `finished` is missing, because it waits for the
# user.
MIGRATION_OVER = ("confirmed", "reverted", "error", "failed", "completed", "cancelled", "done")
MIGRATION_FAILED = ("error", "failed")
# The start of the lock reason of nova-manage volume_attachment refresh, which sets no task_state and no event.
REFRESH_LOCK = "Refreshing connection_info"
QUIET_MIGRATION = (None, "", "none", "success", "error")
# These markers mean nothing for a deleted server, because a delete that crashed leaves its event open permanently.
_OF_THE_LIVING = ("task_state", "event", "action", "lock")


# An operation without progress for this time never ends by itself. A live migration of a large guest can take days.
_NEVER_ENDS_AFTER = {
    "task_state": timedelta(days=1),
    "event": timedelta(days=1),
    "volume": timedelta(days=1),
    "lock": timedelta(days=1),
    "host": timedelta(days=1),
    "build": timedelta(days=1),
    "migration": timedelta(days=7),
}


def never_ends(marker: Marker, now: datetime) -> bool:
    """Whether the operation has shown no progress for longer than it can take; False if its start is unknown."""
    limit = never_ends_from(marker)
    return limit is not None and now > limit


def never_ends_from(marker: Marker) -> datetime | None:
    """Return when the operation counts as one that never ends; None if it has no limit or its start is unknown."""
    limit = _NEVER_ENDS_AFTER.get(marker.kind)
    return marker.since + limit if limit and marker.since else None


def is_busy(volume: Volume) -> bool:
    """Whether an operation on the volume is in progress in Cinder, which may change its attachments."""
    return volume.status in _TRANSITIONAL or volume.migration_status not in QUIET_MIGRATION


def is_quiet(volume: Volume) -> bool:
    """Whether the volume is in-use and no operation on it is in progress in Cinder."""
    return volume.status == "in-use" and not is_busy(volume)


def is_of(bdm: BlockDeviceMapping, volume_id: str) -> bool:
    """Whether the mapping is of the volume."""
    # A server may have been created with the volume id in capitals; for MySQL's collations both are equal.
    return bdm.volume_id.lower() == volume_id.lower()


def markers(observation: Observation, existence: Existence) -> tuple[Marker, ...]:
    before, after = observation.before, observation.after
    markers = [*before.markers, *after.markers]
    if existence is Existence.DELETED:
        markers = [marker for marker in markers if marker.kind not in _OF_THE_LIVING]
    markers += _markers_of_servers([server for server in after.servers if not server.deleted])
    if after.building:
        detail = "request that has not reached its cell"
        markers.append(Marker(kind="build", detail=detail, since=after.requested_at))
    if after.host_state is HostState.DOWN:
        since = after.host_down_since
        is_down = f"has been down since {utc(since)}" if since else "is down"
        markers.append(Marker(kind="host", detail=f"{is_down}, so it cannot prove anything", since=since))
    if (set(before.servers), set(before.mappings)) != (set(after.servers), set(after.mappings)):
        markers.append(Marker(kind="change", detail="of Nova's rows while they were read"))
    return tuple(dict.fromkeys((*markers, *_markers_of_volumes(observation, existence))))


def _markers_of_servers(living: Sequence[Server]) -> Iterator[Marker]:
    for server in living:
        if server.task_state:
            yield Marker(kind="task_state", detail=server.task_state, since=server.updated_at)
        elif server.vm_state == "building":
            yield Marker(kind="task_state", detail="none yet, the server is building")
    if len(living) > 1 or any(server.hidden for server in living):
        yield Marker(kind="copy", detail="of the server in another cell (cross-cell resize)")


def _markers_of_volumes(observation: Observation, existence: Existence) -> Iterator[Marker]:
    for volume in (row for reading in observation.cinder.volumes.values() for row in reading.rows):
        if is_busy(volume) and not (existence is Existence.DELETED and _is_left_half_way(volume, observation)):
            state = f"{volume.id} is {volume.status}"
            if volume.migration_status not in QUIET_MIGRATION:
                state += f", migration_status {volume.migration_status}"
            # An attach or detach that stopped half-way has its own code.
            half_way = volume.status in ("attaching", "detaching")
            since = None if half_way else volume.updated_at
            yield Marker(kind="volume", detail=state, since=since, volume_id=volume.id)


def _is_left_half_way(volume: Volume, observation: Observation) -> bool:
    """Whether the attach or detach of a deleted server stopped half-way, and no other server uses the volume."""
    rows = observation.cinder.of_volumes.get(volume.id, Reading[Attachment]()).rows
    others = [row for row in rows if row.server_id != observation.server_id]
    other_servers_bdms = [
        bdm for bdm in observation.other_servers_bdms.rows if is_of(bdm, volume.id) and not bdm.deleted
    ]
    return (
        volume.status in ("attaching", "detaching")
        and not others
        and observation.other_servers_bdms.complete
        and not other_servers_bdms
    )
