# SPDX-License-Identifier: Apache-2.0
"""Repairs that give a server its volume back: relink a mapping, attach the volume again, roll back a detach."""

from __future__ import annotations

import dataclasses
from typing import Any

from dedangle.core import addresses, connections
from dedangle.core.decisions import Finding, Outcome, Remedy, Result
from dedangle.core.records import Attachment, BlockDeviceMapping, Reading, Server, Volume
from dedangle.reconcile import attaching
from dedangle.systems import ports

_REPAIRS = (Remedy.RELINK_MAPPING, Remedy.RESTORE_ATTACHMENT, Remedy.ROLL_BACK_DETACH)
_AGAIN = "--reattach is run again"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Repairs:
    """The repairs of the command. They write to Nova's database and to Cinder, and take no disk from a guest."""

    nova: ports.Restoring
    cinder: ports.Attaching
    hosts: ports.Hosts
    connector: dict[str, Any]
    """os-brick's description of the server's host, if the operator gave it; a secret."""

    def carries_out(self, finding: Finding) -> bool:
        return finding.remedy in _REPAIRS

    def carry_out(self, finding: Finding, server: Server | None, volume: Volume | None) -> Outcome:
        """Repair a finding that was just judged; return CHANGED_MEANWHILE if a row has changed since."""
        if finding.remedy is Remedy.ROLL_BACK_DETACH:
            return self.cinder.roll_back_detach(finding.volume_id)
        mapping, attachment = finding.mapping, finding.attachment
        if mapping is None or server is None:
            return Outcome(result=Result.FAILED, detail="the mapping or its server was not read")
        if finding.remedy is Remedy.RESTORE_ATTACHMENT:
            outcome = self._reattach(mapping, server, volume, attachment)
            return dataclasses.replace(outcome, result=_restored(outcome.result))
        if attachment is None:
            return Outcome(result=Result.FAILED, detail="there is no attachment that the mapping could name")
        if attachment.is_reserved:
            return self.nova.name_attachment(mapping, server, attachment.id, None)
        return self._name(mapping, server, volume, attachment, self.cinder.connection(attachment.id))

    def _reattach(
        self, mapping: BlockDeviceMapping, server: Server, volume: Volume | None, existing: Attachment | None
    ) -> Outcome:
        """Complete Cinder's side first, because a server that reboots in between needs a complete attachment."""
        if existing is not None and existing.status == "attached":
            return self._name(mapping, server, volume, existing, self.cinder.connection(existing.id))
        connector: Reading[dict[str, Any]] = Reading(({},))
        if server.host is not None:
            connector = self._connector(mapping, server.host)
        if not connector.rows:
            return Outcome(result=Result.FAILED, detail=connector.why)
        reserved = attaching.reserve(self.cinder, mapping, existing)
        if not reserved.rows:
            return Outcome(result=Result.FAILED, detail=reserved.why)
        (attachment,) = reserved.rows
        connected: Reading[dict[str, Any]] = Reading()
        if server.host is None:
            # An unshelve will connect it. Until then a reserved attachment is the normal state.
            outcome = self.nova.name_attachment(mapping, server, attachment.id, None)
        else:
            kept = self.nova.connection_info(mapping)
            read_only = any(each.get("data", {}).get("access_mode") == "ro" for each in kept.rows)
            mode = {"mode": "ro"} if read_only else {}
            connected = attaching.connect(self.cinder, attachment, mapping, {**connector.rows[0], **mode})
            outcome = self._name(mapping, server, volume, attachment, connected)
        is_own = existing is None
        # If Nova's database did not answer, the row may already name the attachment, so the attachment stays.
        is_named = outcome.result.is_done or outcome.result in (Result.FAILED, Result.UNKNOWN)
        if is_named or not is_own:
            return outcome
        if self._guest_may_use(connected, mapping, server):
            left = f"; attachment {attachment.id} stays, because the guest may use its connection. Run it again"
            return dataclasses.replace(outcome, detail=outcome.detail + left)
        return attaching.take_back(self.cinder, attachment, outcome, again_by=_AGAIN)

    def _guest_may_use(self, connected: Reading[dict[str, Any]], mapping: BlockDeviceMapping, server: Server) -> bool:
        """Whether the deletion of the new attachment may unplug the disk of a running guest.

        Cinder then ends the connection between the volume and the host, and many backends have only one for both
        attachments.
        """
        if server.is_stopped or not connected.rows:
            return False
        kept = self.nova.connection_info(mapping)
        new = connections.from_attachment(connected.rows[0], mapping.volume_id, multiattach=False)
        return not any(addresses.is_elsewhere(each, new) for each in kept.rows)

    def _connector(self, mapping: BlockDeviceMapping, host: str) -> Reading[dict[str, Any]]:
        if self.connector.get("host") == host:
            return Reading((self.connector,))
        return self.hosts.connector(mapping.server_id, host)

    def _name(
        self,
        mapping: BlockDeviceMapping,
        server: Server,
        volume: Volume | None,
        attachment: Attachment,
        connected: Reading[dict[str, Any]],
    ) -> Outcome:
        """Let the mapping name the connected attachment, unless a running guest would use another connection."""
        kept = self.nova.connection_info(mapping)
        if not connected.rows or not kept.complete:
            # Nothing is written, and the caller deletes the new attachment.
            return Outcome(result=Result.REFUSED, detail=connected.why or kept.why)
        multiattach = volume is not None and volume.multiattach
        new = connections.from_attachment(connected.rows[0], mapping.volume_id, multiattach=multiattach)
        is_same = all(addresses.is_same(each, new) for each in kept.rows)
        if not is_same and not (server.is_stopped or server.host is None):
            return Outcome(
                result=Result.REFUSED,
                detail="Cinder connects the volume at another address than the one that the guest uses. With --restart "
                "the guest starts with the new address",
            )
        if attachment.status != "attached":
            done = self.cinder.complete_attachment(attachment.id)
            if not done.complete:
                return Outcome(result=Result.REFUSED, detail=done.why)
        if is_same and kept.rows:
            new = connections.renewed(kept.rows[0], new)
        outcome = self.nova.name_attachment(mapping, server, attachment.id, new)
        left = "" if is_same else "; the host may keep the connection of the lost attachment"
        named = f"the mapping names attachment {attachment.id}{left}"
        return dataclasses.replace(outcome, detail=outcome.detail or named)


def _restored(result: Result) -> Result:
    return Result.RESTORED if result is Result.RELINKED else result
