# SPDX-License-Identifier: Apache-2.0
"""Changes through Cinder's REST API. Each write compares the row first, and is never retried."""

from __future__ import annotations

from typing import Any

from dedangle.core.decisions import Outcome, Result
from dedangle.core.records import Attachment, Reading, Volume
from dedangle.systems import rest
from dedangle.systems.cinder import rows as cinder_rows
from dedangle.systems.cinder.client import CinderClient, UnreadError, is_gone

# Answers of a proxy that lost its cinder-api. The request may have been carried out.
_OF_A_PROXY = (502, 504)


class CinderWrites(CinderClient):
    """Changes attachments and volumes as an administrator, never with a service token."""

    def reset_status(self, expected: Volume) -> Outcome:
        """Read the volume, compare, reset. Cinder's own reset checks nothing (os-reset_status)."""
        now = self.volume(expected.id)
        if not now.complete:
            return Outcome(result=Result.FAILED, detail=now.why)
        if now.rows != (expected,):
            return Outcome(result=Result.CHANGED_MEANWHILE, detail="the volume has changed")
        reset = {"os-reset_status": {"status": "available", "attach_status": "detached"}}
        return self._act_on_volume(expected.id, reset, leads_to="available")

    def delete_attachment(self, expected: Attachment) -> Outcome:
        """Read the attachment, compare, delete.

        Without a service token Cinder asks Nova before the deletion, and answers 409 if Nova still uses the attachment
        (cinder volume/api.py:attachment_deletion_allowed, bug 2004555).
        """
        found = self.attachment(expected.id)
        if not found.complete:
            return Outcome(result=Result.FAILED, detail=found.why)
        for row in found.rows:
            same = (row.server_id, row.volume_id, row.status) == (
                expected.server_id,
                expected.volume_id,
                expected.status,
            )
            if not same or (expected.is_reserved and not row.is_reserved):
                return Outcome(
                    result=Result.CHANGED_MEANWHILE,
                    detail=f"the attachment has changed: it was {expected.status} and is now {row.status}",
                )
        if not found.rows:
            return Outcome(result=Result.CHANGED_MEANWHILE, detail="the attachment is gone already")
        try:
            answer = self._ask("DELETE", f"/attachments/{expected.id}", connect_retries=0, status_code_retries=0)
        except UnreadError as error:
            return self._look_for(expected.id, str(error))
        if answer.status_code in (200, 202, 204):
            return Outcome(result=Result.REMOVED)
        if is_gone(answer, expected.id):
            return Outcome(result=Result.CHANGED_MEANWHILE, detail="the attachment is gone already")
        detail = f"Cinder answered {answer.status_code}: {rest.message(answer)}"
        if answer.status_code >= 500:
            # Galera may carry out a transaction whose COMMIT fails, and Cinder then answers 500.
            looked = self._look_for(expected.id, detail)
            if answer.status_code in _OF_A_PROXY or looked.result.is_done:
                return looked
        return Outcome(result=Result.REFUSED if answer.status_code in (403, 409) else Result.FAILED, detail=detail)

    def _look_for(self, attachment_id: str, why: str) -> Outcome:
        """Return the outcome of a deletion without an answer; UNKNOWN if the attachment is still there."""
        found = self.attachment(attachment_id)
        if found.absent:
            return Outcome(result=Result.REMOVED, detail=f"{why}; the attachment is gone")
        return Outcome(result=Result.UNKNOWN, detail=f"{why}; {found.why or 'the attachment is still there'}")

    def create_attachment(self, volume_id: str, server_id: str) -> Reading[Attachment]:
        """Reserve the volume for the server.

        Cinder does this with one conditional update, which fails if the volume is neither available nor multi-attach
        (cinder volume/api.py:_attachment_reserve).
        """
        body = self._write(
            "POST", "/attachments", {"attachment": {"volume_uuid": volume_id, "instance_uuid": server_id}}
        )
        return Reading(tuple(map(cinder_rows.attachment, body.rows)), body.complete, body.why)

    def connect_attachment(self, attachment_id: str, connector: dict[str, Any]) -> Reading[dict[str, Any]]:
        """Connect the attachment through the connector's host, as Nova's attach does."""
        return self._write("PUT", f"/attachments/{attachment_id}", {"attachment": {"connector": connector}})

    def complete_attachment(self, attachment_id: str) -> Reading[dict[str, Any]]:
        """Set a connected attachment to attached, and its volume to in-use."""
        return self._write("POST", f"/attachments/{attachment_id}/action", {"os-complete": {}})

    def roll_back_detach(self, volume_id: str) -> Outcome:
        """Set the volume back to in-use, with the conditional update of cinder volume/api.py:roll_detaching."""
        now = self.volume(volume_id)
        if not now.complete:
            return Outcome(result=Result.FAILED, detail=now.why)
        if any(each.status != "detaching" for each in now.rows) or not now.rows:
            return Outcome(result=Result.CHANGED_MEANWHILE, detail="the volume is no longer detaching")
        return self._act_on_volume(volume_id, {"os-roll_detaching": {}}, leads_to="in-use")

    def _act_on_volume(self, volume_id: str, action: dict[str, Any], *, leads_to: str) -> Outcome:
        done = self._write("POST", f"/volumes/{volume_id}/action", action)
        if done.complete:
            return Outcome(result=Result.RESTORED)
        # Without an answer the volume itself tells.
        now = self.volume(volume_id)
        if any(volume.status == leads_to for volume in now.rows):
            return Outcome(result=Result.RESTORED, detail=f"{done.why}; the volume is {leads_to}")
        return Outcome(result=Result.FAILED if now.complete else Result.UNKNOWN, detail=done.why)

    def _write(self, method: str, path: str, body: dict[str, Any]) -> Reading[dict[str, Any]]:
        try:
            answer = self._ask(method, path, json=body, connect_retries=0, status_code_retries=0)
        except UnreadError as error:
            return Reading.unread(str(error))
        if answer.status_code == 204 or (answer.status_code == 202 and not answer.content):
            return Reading()
        attachment = rest.body(answer).get("attachment")
        if answer.status_code in (200, 202) and isinstance(attachment, dict):
            return Reading((attachment,))
        return Reading.unread(f"Cinder answered {answer.status_code} to {method} {path}: {rest.message(answer)}")
