# SPDX-License-Identifier: Apache-2.0
"""Find a volume that is not available although neither Nova nor Cinder has a row for it, so that nothing frees it."""

from __future__ import annotations

import dataclasses
from datetime import datetime

from dedangle.core.case import Policy
from dedangle.core.decisions import Disposition, Door, Finding, Remedy, Verdict
from dedangle.core.doors import SETTLED_AFTER, older_than
from dedangle.core.findings import KINDS
from dedangle.core.records import Attachment, BlockDeviceMapping, Reading, Refusal, Volume
from dedangle.core.times import utc
from dedangle.core.work import QUIET_MIGRATION

CODE = "volume-stuck"
IN_USE = "in-use"
STUCK = ("attaching", "detaching", "reserved", "error_attaching", "error_detaching", "maintenance")
"""The statuses other than in-use in which nobody can attach, detach or delete the volume."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VolumeObservation:
    """A volume as Cinder returns it, and every row of Nova and Cinder that names it."""

    volume: Reading[Volume]
    attachments: Reading[Attachment]
    bdms: Reading[BlockDeviceMapping]
    """Live and soft-deleted, in every cell."""


def judge(seen: VolumeObservation, *, now: datetime, policy: Policy) -> Finding | Refusal | None:
    """Return the finding of a stuck volume, None for any other volume, or why it could not be judged."""
    for reading in (seen.volume, seen.attachments, seen.bdms):
        if not reading.complete:
            return Refusal(reading.why)
    live = [bdm for bdm in seen.bdms.rows if not bdm.deleted]
    volume = next(iter(seen.volume.rows), None)
    if volume is None or volume.consumer or live or seen.attachments.rows or not _is_stuck(volume):
        return None
    kind = KINDS[CODE]
    since = volume.updated_at
    # A client of the old API (os-reserve, os-begin_detaching) creates no row. Only its age shows that it has stopped.
    wait = max(policy.grace, SETTLED_AFTER) if policy.grace else policy.grace
    commands = (f"dedangle cleanup --volume {volume.id} --execute",)
    if not older_than(since, wait, now) and since is not None:
        disposition, advice = Disposition.WAIT, f"Waits until {utc(since + wait)}: its status changed recently."
    elif policy.door is Door.COMMAND:
        disposition, advice = Disposition.RESTORE, "Its status can be reset."
    else:
        disposition, advice = Disposition.REPORT, kind.advice
    sentence = kind.sentence.format(volume=volume.id, work=volume.status)
    return Finding(
        code=CODE,
        verdict=Verdict.DANGLING,
        remedy=Remedy.RESET_STATUS,
        disposition=disposition,
        server_id="",
        volume_id=volume.id,
        project_id=volume.project_id,
        first_seen=min(since or now, now),
        sentence=sentence,
        advice=advice,
        next=commands,
        volume=volume,
        volume_name=volume.name,
        volume_size=volume.size,
        evidence=(
            f"Cinder: volume {volume.id} is {volume.status}" + (f" since {utc(since)} or before" if since else ""),
            f"Cinder: volume {volume.id} has no attachment",
            f"Nova: no live mapping of volume {volume.id} in any cell",
            *((f"Cinder: volume {volume.id} {volume.origin}",) if volume.origin else ()),
        ),
    )


def _is_stuck(volume: Volume) -> bool:
    return volume.status in (IN_USE, *STUCK) and volume.migration_status in QUIET_MIGRATION
