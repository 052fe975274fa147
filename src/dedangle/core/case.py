# SPDX-License-Identifier: Apache-2.0
"""The policy of a door, and a finding with its state: the input of the rules in core/doors.py."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from typing import NamedTuple

from dedangle.core.decisions import Disposition, Door, Finding, Remedy, Verdict
from dedangle.core.findings import Needs
from dedangle.core.pair import ServerState
from dedangle.core.records import Marker, Refusal, Server


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policy:
    """What the configuration and the operator allow."""

    door: Door
    grace: timedelta
    grace_reserved: timedelta = timedelta(minutes=10)
    """The grace period of rows that were never connected, if it is shorter than `grace`."""
    attach_timeout: timedelta = timedelta(seconds=1800)
    """The longest time between the first and the second write of an attach: Nova's long_rpc_timeout."""
    allow_root: bool = False
    no_host: bool = False
    names_volume: bool = False
    """Whether the operator named the volume; then no_host also skips other hosts than the server's own."""
    relink: bool = False
    reattach: bool = False
    """Whether a lost attachment is created again, instead of removing the mapping that names it."""
    assume_deleted: bool = False
    """Whether the operator states that a server without any record in Nova was deleted and purged."""
    connector_host: str | None = None
    """The host whose connector the operator gave."""
    restart: bool = False
    """Whether a running server may be stopped; the server is then judged as if it were already stopped."""
    available_means_gone: bool = False
    """Whether a volume that is `available` counts as detached although it has an attachment."""
    guest_off: bool = False
    """Whether the door can power the guest off."""
    at_host: bool = False
    """Whether the door runs on the server's own host, holds the instance lock, and disconnects volumes there."""

    @property
    def vouches_for_other_host(self) -> bool:
        """Whether the operator states that no guest on another host than the server's has the volume."""
        return self.no_host and self.names_volume and self.door is Door.COMMAND


class Ruling(NamedTuple):
    """What the door does, and the sentence about it for the operator."""

    disposition: Disposition
    sentence: str
    next: tuple[str, ...] = ()
    """Commands that only this rule knows; core/exits.py finds the others."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A finding at a door: everything that the rules may use."""

    finding: Finding
    server_state: ServerState
    policy: Policy
    kind_needs: Needs
    """What this door needs for this code, by the table of findings."""
    now: datetime
    advice: str
    """What an operator must know if the door does nothing."""
    kept_because: Refusal | None = None
    """Why the remedy must not be carried out, whatever the door."""
    open_work: tuple[Marker, ...] = ()
    """Operations on the server that Nova or Cinder has started and not ended, however long ago."""
    not_before: datetime | None = None
    """Before this time the operation that created the rows may still be in progress."""
    changed_at: datetime | None = None
    """When the newest of the rows last changed; None if no row has such a time."""
    age_is_unknown: bool = False
    """Whether the age of the attachment is unknown; it then counts from when it was first seen."""
    guest_may_live: bool = False
    """Whether it is a connected attachment of a deleted server, so that its guest must be proved to have ended."""
    proved: bool = False
    """Whether every host concerned proved that the server's guest there does not have the disk."""
    cinder_is_wrong: bool = False
    """Whether Cinder has lost attachments that are in use."""
    image_is_open: Refusal | None = None
    """Why a Ceph client may use the volume's image without another attachment."""
    explained_on: str | None = None
    """The host on which the guest has the disk through another, valid attachment."""

    @property
    def server(self) -> Server | None:
        return self.server_state.server

    @property
    def server_id(self) -> str:
        return self.finding.server_id

    @property
    def is_stopped(self) -> bool:
        return self.server is not None and self.server.is_stopped

    @property
    def is_without_host(self) -> bool:
        return self.server is not None and self.server.is_without_host

    @property
    def needs(self) -> Needs:
        """What the door needs. The mapping of a root disk always needs a stopped server."""
        is_removed_root = self.finding.verdict is Verdict.PROTECTED and not self.is_repair
        return Needs.STOPPED if is_removed_root else self.kind_needs

    @property
    def needs_no_guest(self) -> bool:
        return self.needs in (Needs.STOPPED, Needs.NO_GUEST)

    @property
    def restart(self) -> bool:
        """Whether the server will be stopped for the remedy. Not for a relink, which needs an unshelve afterwards."""
        restartable = self.server is not None and self.server.can_be_stopped
        return self.policy.restart and restartable and self.finding.remedy is not Remedy.RELINK_MAPPING

    @property
    def host_left_out(self) -> str | None:
        """The host that is down, and that the operator leaves out; None if there is no such host."""
        is_left_out = self.policy.no_host and self.policy.door is Door.COMMAND
        return self.server.host if self.server and self.server_state.host_down and is_left_out else None

    @property
    def host_acts(self) -> bool:
        return self.policy.at_host or self.server_state.host_acts

    @property
    def proof_suffices(self) -> bool:
        """Whether the proof is enough while the guest runs. If a volume must be disconnected, its host must do that."""
        return self.proved and (self.host_acts or self.needs is not Needs.STOPPED)

    @property
    def guest_goes_off(self) -> bool:
        """Whether the door first powers the guest off, so that its next domain does not have the disk."""
        return (self.needs is Needs.GUEST_OFF and self.policy.guest_off) or (self.needs_no_guest and self.restart)

    @property
    def is_repair(self) -> bool:
        """Whether the remedy removes no disk from the guest."""
        if self.finding.remedy is Remedy.RELINK_MAPPING:
            return self.finding.attachment is not None
        return self.finding.remedy in (Remedy.RESTORE_ATTACHMENT, Remedy.ROLL_BACK_DETACH)

    @property
    def is_seen_in_use(self) -> bool:
        """Whether the server's own host proves that the running guest has the disk."""
        return self.server_state.is_seen_with(self.finding.volume_id)

    @property
    def is_seen_unused(self) -> bool:
        own_host = self.server.host if self.server else None
        return self.server_state.guest_lacks(self.finding.volume_id, {own_host})

    @property
    def must_connect(self) -> bool:
        """Whether Cinder must be given the connector of the server's host."""
        attachment = self.finding.attachment
        is_connected = attachment is not None and attachment.status == "attached"
        has_host = self.server is not None and self.server.host is not None
        return self.finding.remedy is Remedy.RESTORE_ATTACHMENT and has_host and not is_connected
