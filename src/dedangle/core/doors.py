# SPDX-License-Identifier: Apache-2.0
"""What a door may do about a finding, and what it says of it."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta

from dedangle.core.findings import Needs
from dedangle.core.records import Disposition, Door, Finding, Remedy, Scene, Server, Verdict

# Nova ends the guest of a server that was deleted while its host was down when the host is back, every
# running_deleted_instance_poll_interval (1800 s); twice that is long enough.
_REAPED_IN = timedelta(hours=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policy:
    """What the configuration and the operator allow; all spans are timedeltas."""

    door: Door
    grace: timedelta
    attach_timeout: timedelta = timedelta(seconds=1800)
    """How long an attach may take between its first write and its second: Nova's long_rpc_timeout."""
    allow_root: bool = False
    no_host: bool = False
    relink: bool = False
    restart: bool = False
    """Whether a running server may be stopped while it is cleaned; the judgement is then of the server once stopped."""
    available_means_gone: bool = False
    """Whether a volume that is `available` is taken for detached although it has an attachment."""
    guest_off: bool = False
    """Whether the door can power the guest off."""
    at_host: bool = False
    """Whether the door works on the server's own host, under the instance lock, and takes connections down there."""


def dispose(
    needs: Needs,
    finding: Finding,
    scene: Scene,
    policy: Policy,
    *,
    now: datetime,
    advice: str,
    hold: str,
    ripe_at: datetime | None,
    reap: bool,
    proved: bool,
) -> tuple[Disposition, str]:
    """Return what the door may do, and the sentence that says so, with the next command to type.

    hold says why it must be kept whatever the door; before ripe_at it may still be on its way; reap: a guest may run on
    until Nova has ended it; proved: every host concerned answered that the server's guest does not have the disk.
    """
    server = scene.server
    stopped = server is not None and server.is_stopped
    # A relinked disk comes back with an unshelve; starting a guest whose volume is not connected shows nothing.
    restartable = server is not None and server.can_be_stopped and finding.remedy is not Remedy.RELINK_MAPPING
    restart = policy.restart and restartable
    if hold:
        return Disposition.REPORT, f"It is kept: {hold}."
    if finding.verdict is Verdict.PROTECTED:
        if not (policy.allow_root and policy.door is Door.COMMAND and stopped):
            command = f"dedangle cleanup {finding.server_id} --allow-root --no-host --execute"
            return Disposition.PROTECT, f"It is the root disk: stop the server and run: {command}"
        needs = Needs.STOPPED
    host_acts = policy.at_host or scene.host_acts
    relinkable = finding.remedy is Remedy.RELINK_MAPPING and finding.attachment is not None
    kept = finding.verdict is Verdict.MISMATCH and not relinkable
    if kept or finding.verdict is Verdict.FOREIGN or needs is Needs.NEVER:
        return Disposition.REPORT, advice
    if ripe_at and now < ripe_at:
        return Disposition.WAIT, f"It waits until {_utc(ripe_at)}, in case it is on its way."
    if needs is Needs.GRACE or reap or (needs in (Needs.NO_GUEST, Needs.PROOF) and policy.door is Door.SWEEP):
        grace = max(policy.grace, _REAPED_IN) if reap else policy.grace
        moments = {
            "it was first seen": finding.first_seen,
            "the server's last action was": scene.last_action_at,
            "the server was deleted": server.deleted_at if server else None,
        }
        for what, moment in moments.items():
            if moment and not older_than(moment, grace, now):
                return (
                    Disposition.WAIT,
                    f"It waits: {what} {_utc(moment)}, less than {grace.total_seconds():.0f} s ago.",
                )
    if needs is Needs.GUEST_OFF and not policy.guest_off:
        return Disposition.REPORT, advice
    off = needs in (Needs.STOPPED, Needs.NO_GUEST)
    without_host = server is not None and server.is_without_host
    # A running guest that has not the disk needs its own host to act, where a connection is to be taken down.
    waived = proved and (host_acts or needs is Needs.NO_GUEST)
    if off and not (stopped or restart or without_host or waived):
        unmoved = ", which --restart leaves as it is" if policy.restart else ""
        return Disposition.REPORT, f"The server is {_state(server)}{unmoved}. {advice}"
    if needs is Needs.PROOF and not proved:
        return Disposition.REPORT, advice
    if finding.remedy is Remedy.RELINK_MAPPING:
        if not policy.relink:
            return Disposition.REPORT, advice
        return Disposition.RELINK, "It can be relinked: run again with --execute."
    if needs is Needs.STOPPED and not (without_host or policy.no_host or host_acts):
        command = f"dedangle cleanup {finding.server_id}{' --restart' if restart else ''} --no-host --execute"
        return Disposition.REPORT, f"It is kept: the host cannot be asked from here. To do without, run: {command}"
    if off and restart and not waived:
        return Disposition.REMOVE, "It can be removed while the server is stopped: run again with --execute."
    if policy.door is Door.SWEEP:
        return Disposition.REMOVE, f"Run: dedangle sweep --execute, or: dedangle cleanup {finding.server_id} --execute"
    return Disposition.REMOVE, "It can be removed: run again with --execute."


def _state(server: Server | None) -> str:
    """The server's state as `openstack server list` shows it, and why it is not stopped where it says so."""
    if server is None or server.vm_state is None:
        return "in no known state"
    return server.vm_state.upper() if server.vm_state != "stopped" else "SHUTOFF, but its guest was not seen to be off"


def older_than(moment: datetime | None, span: timedelta, now: datetime) -> bool:
    """Whether the moment is at least the span ago; an unknown moment is, and nothing is younger than no span at all."""
    return not span or moment is None or now - moment >= span


def _utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
