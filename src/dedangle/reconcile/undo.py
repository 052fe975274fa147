# SPDX-License-Identifier: Apache-2.0
"""Restore a removed mapping: observe, judge, re-verify, act, record."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

from dedangle.core import connections, undoing
from dedangle.core.decisions import Outcome, Result
from dedangle.core.observations import CinderView, Observation
from dedangle.core.records import Attachment, BlockDeviceMapping, Reading, Refusal
from dedangle.core.undoing import Restoration, UndoObservation
from dedangle.reconcile import attaching
from dedangle.state.journal import Entry, Journal
from dedangle.systems import ports


@dataclasses.dataclass(frozen=True, kw_only=True)
class Undoer:
    """Undoes one entry of the journal."""

    nova: ports.Restoring
    cinder: ports.Attaching
    entry: Entry
    removed: BlockDeviceMapping
    resumed: bool
    """Whether an undo of the entry was started before."""
    connector: dict[str, Any]
    """The connector of the server's host; empty if the operator gave none."""
    shield: Callable[[], contextlib.AbstractContextManager[object]]
    """Delays signals during the intent, the writes and the outcome."""

    def look(self) -> UndoObservation:
        """Read the current state; changes nothing."""
        server_id, volume_id = self.removed.server_id, self.removed.volume_id
        before = self.nova.observe(server_id)
        cinder = CinderView(
            attachments=Reading(),
            volumes={volume_id: self.cinder.volume(volume_id)},
            of_volumes={volume_id: self.cinder.attachments_of_volume(volume_id)},
        )
        other_servers_bdms = self.nova.other_servers_bdms([volume_id], server_id)
        after = self.nova.observe(server_id)
        return UndoObservation(
            removed=self.removed,
            seen=Observation(
                server_id=server_id, before=before, cinder=cinder, after=after, other_servers_bdms=other_servers_bdms
            ),
            resumed=self.resumed,
            connector_host=self.connector.get("host"),
        )

    def execute(self, journal: Journal) -> Outcome:
        """Read the state again and restore the mapping; raise JournalUnwritableError before any change."""
        observed = self.look()
        found = undoing.judge(observed)
        if isinstance(found, Refusal):
            return Outcome(result=Result.CHANGED_MEANWHILE, detail=found.why)
        with self.shield():
            intended = journal.intend_undo(self.entry, found.row, found.plan, tuple(undoing.facts(observed)))
            outcome = self._restore(found)
            journal.conclude(intended, outcome)
        return outcome

    def _restore(self, found: Restoration) -> Outcome:
        """Complete Cinder's side first, because a server that reboots in between needs a complete attachment."""
        row, replacement = found.row, found.replacement
        reserved = attaching.reserve(self.cinder, row, replacement)
        if not reserved.rows:
            return Outcome(result=Result.FAILED, detail=reserved.why)
        (replacement,) = reserved.rows
        multiattach, connection_info = found.volume.multiattach, None
        if found.must_connect:
            answer = attaching.connect(self.cinder, replacement, row, self.connector)
            done = self.cinder.complete_attachment(replacement.id) if answer.rows else answer
            if not answer.rows or not done.complete:
                failed = Outcome(result=Result.FAILED, detail=answer.why or done.why)
                return self._taken_back(failed, replacement, row)
            connection_info = connections.from_attachment(answer.rows[0], row.volume_id, multiattach=multiattach)
        outcome = self.nova.restore_mapping(row, found.server, replacement.id, connection_info, multiattach=multiattach)
        if outcome.result is Result.CHANGED_MEANWHILE:
            return self._taken_back(outcome, replacement, row)
        # If Nova's database did not answer, the row may already be restored, so its attachment stays.
        return dataclasses.replace(outcome, detail=outcome.detail or f"the mapping names attachment {replacement.id}")

    def _taken_back(self, outcome: Outcome, replacement: Attachment, row: BlockDeviceMapping) -> Outcome:
        """Delete an attachment that the failed undo has created."""
        if replacement.id == row.attachment_id:
            return outcome
        return attaching.take_back(self.cinder, replacement, outcome, again_by="the undo is run again")
