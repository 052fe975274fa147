# SPDX-License-Identifier: Apache-2.0
"""Find volumes whose status no row of Nova or Cinder explains, and reset it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from datetime import datetime

from dedangle.core import stuck
from dedangle.core.case import Policy
from dedangle.core.decisions import Finding, Outcome, Result
from dedangle.core.records import Reading, Refusal
from dedangle.core.stuck import VolumeObservation
from dedangle.reconcile.screen import Screen
from dedangle.state.journal import Journal
from dedangle.systems import ports


@dataclasses.dataclass(frozen=True, kw_only=True)
class StuckVolumes:
    """Checks single volumes, and resets the status of stuck ones."""

    nova: ports.Nova
    cinder: ports.Cinder
    policy: Policy
    clock: Callable[[], datetime]
    shield: Callable[[], contextlib.AbstractContextManager[object]]
    """Delays signals during the intent, the write and the outcome."""

    def candidates(self, screen: Screen) -> Reading[str]:
        """Return the volumes that may be stuck. Cinder lists them by status; those in-use come from the bulk read."""
        found = self.cinder.volumes_with_status(stuck.STUCK)
        ids = {volume.id for volume in found.rows} | screen.unheld
        return Reading(tuple(sorted(ids)), found.complete, found.why)

    def audit(self, volume_id: str) -> Finding | Refusal | None:
        """Judge the volume as it is now: Nova is read last, because an attach writes its mapping first."""
        seen = VolumeObservation(
            volume=self.cinder.volume(volume_id),
            attachments=self.cinder.attachments_of_volume(volume_id),
            bdms=self.nova.other_servers_bdms([volume_id], ""),
        )
        return stuck.judge(seen, now=self.clock(), policy=self.policy)

    def reset(self, finding: Finding, journal: Journal) -> Outcome:
        """Judge the volume again and reset its status; raise JournalUnwritableError before any change."""
        now = self.audit(finding.volume_id)
        if isinstance(now, Refusal):
            return Outcome(result=Result.FAILED, detail=now.why)
        if now is None or now.key != finding.key or now.volume is None or not now.disposition.is_change:
            return Outcome(result=Result.CHANGED_MEANWHILE, detail="the volume has changed")
        with self.shield():
            entry = journal.intend(now)
            outcome = self.cinder.reset_status(now.volume)
            journal.conclude(entry, outcome)
        return outcome
