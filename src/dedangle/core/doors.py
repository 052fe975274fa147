# SPDX-License-Identifier: Apache-2.0
"""What a door may do about a finding: an ordered tuple of rules. The first rule that applies decides.

The file is long because the order of the rules decides: read it from top to bottom. The manual's page of rules is
generated from the names and docstrings of RULES, in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from dedangle.core.case import Case, Ruling
from dedangle.core.decisions import Disposition, Door, Finding, Remedy, Verdict
from dedangle.core.findings import Needs
from dedangle.core.manual import (
    destroy_guest,
    hard_reboot,
    hosts_with_second_guest,
    no_running_guest_on,
    shut_down_guest,
)
from dedangle.core.records import SOFT_DELETED, UNCLAIMABLE, Server
from dedangle.core.times import utc

# Longer than the observed lag of a Galera node after a restart or of a replica during a backup. A row that is younger
# proves nothing about the other side.
SETTLED_AFTER = timedelta(minutes=2)
# Without a remedy of dedangle they end with a start or a hard reboot of the server (core/exits.py).
_ENDED_BY_START = ("migration-half-done", "mapping-without-connection")


def guest_has_the_disk(case: Case) -> Ruling | None:
    """A host proves that the running guest has the disk: the row is kept, unless the door first powers that guest off.

    A door can only power off the guest on the server's own host. A row is also kept if a guest runs on a host where
    none should, with a disk that Nova's mappings do not explain. If the guest has the disk through another, valid
    attachment on that host, this rule does not keep the row.
    """
    if case.is_repair:
        return None
    own_host = case.server.host if case.server else None
    for host in case.server_state.hosts_with_disk(case.finding.volume_id, unexpected=is_connected(case.finding)):
        if host == case.explained_on or (host == own_host and case.guest_goes_off):
            continue
        kept = f"Kept: the guest on host {host} is running and has the disk."
        if case.server is None or case.server.deleted:
            return Ruling(Disposition.REPORT, f"{kept} End that guest first.", _end_guest(host, case.server_id))
        if host != own_host or not case.server.may_have_guest:
            unexpected = "Nova does not expect a guest of the server there: shut it down first."
            return Ruling(Disposition.REPORT, f"{kept} {unexpected}", shut_down_guest(host, case.server_id))
        return Ruling(Disposition.REPORT, f"{kept} {case.advice}".rstrip())
    return None


def guest_runs_elsewhere(case: Case) -> Ruling | None:
    """The guest runs with the disk on another host than Nova says: a start here would run a second guest on it.

    The rule keeps what a repair, or the commands for it, would lead to a start of the server on its own host.
    """
    leads_to_start = case.is_repair or case.finding.code in _ENDED_BY_START
    if not leads_to_start or case.server is None or case.server.host is None:
        return None
    hosts = hosts_with_second_guest(case.server_state, case.finding.volume_id)
    if not hosts:
        return None
    return Ruling(
        Disposition.REPORT,
        f"Kept: the guest is running on host {hosts[0]}, but Nova says that the server is on host {case.server.host}. "
        "A start there would run a second guest on the same disk.",
        shut_down_guest(hosts[0], case.server_id),
    )


def image_is_open(case: Case) -> Ruling | None:
    """More Ceph clients have the RBD image open than other attachments of the volume explain: the row is kept.

    The same if Ceph does not answer. Only `[dedangle] ceph_conf` makes dedangle ask Ceph.
    """
    if case.is_repair or case.image_is_open is None or case.guest_goes_off or not is_connected(case.finding):
        return None
    return Ruling(Disposition.REPORT, f"Kept: {case.image_is_open}. {case.advice}".rstrip())


def rows_forbid(case: Case) -> Ruling | None:
    """The rows themselves forbid the remedy, for example because the server has a lost and an unknown attachment."""
    return Ruling(Disposition.REPORT, f"Kept: {case.kept_because}.") if case.kept_because else None


def work_is_open(case: Case) -> Ruling | None:
    """An operation on the server has not ended, although it no longer shows progress: its age alone proves nothing."""
    # The judgement has already decided about a host that is down. A rollback ends the operation on the volume itself.
    ignored = {"host"} | ({"volume"} if case.finding.remedy is Remedy.ROLL_BACK_DETACH else set())
    open_work = [each for each in case.open_work if each.kind not in ignored]
    return Ruling(Disposition.REPORT, f"Kept: {open_work[0]}. End this operation first.") if open_work else None


def root_disk(case: Case) -> Ruling | None:
    """The mapping is that of the root disk: it is kept, unless --allow-root is given for a server without a guest."""
    has_no_guest = case.is_stopped or case.is_without_host
    allowed = case.policy.allow_root and case.policy.door is Door.COMMAND and has_no_guest
    if case.finding.verdict is not Verdict.PROTECTED or case.is_repair or allowed:
        return None
    return Ruling(Disposition.PROTECT, "Kept: this is the root disk, and the server does not boot without it.")


def only_reported(case: Case) -> Ruling | None:
    """The finding code has no remedy, or none that this door may carry out."""
    undecided = case.finding.verdict is Verdict.MISMATCH and not case.is_repair
    if undecided or case.finding.verdict is Verdict.FOREIGN or case.needs is Needs.NEVER:
        return Ruling(Disposition.REPORT, case.advice)
    return None


def just_changed(case: Case) -> Ruling | None:
    """A row was changed, or was first seen, less than two minutes ago: the finding waits.

    A read can miss what another database node has just written, and a second read from the same node proves nothing.
    Cinder's API does not return when an attachment was created, so its age counts from when a run first saw it.
    """
    settled_after = SETTLED_AFTER
    if case.changed_at and not older_than(case.changed_at, settled_after, case.now):
        until = case.changed_at + settled_after
        return Ruling(Disposition.WAIT, f"Waits until {utc(until)}: its row changed less than two minutes ago.")
    first_seen = case.finding.first_seen
    settled_after = min(settled_after, case.policy.grace)
    if case.age_is_unknown and first_seen and not older_than(first_seen, settled_after, case.now):
        until = first_seen + settled_after
        return Ruling(
            Disposition.WAIT,
            f"Waits until {utc(until)}: it was first seen less than two minutes ago.",
        )
    return None


def too_young(case: Case) -> Ruling | None:
    """The attach that created the mapping may still be in progress: the finding waits for Nova's long_rpc_timeout."""
    if case.not_before and case.now < case.not_before:
        return Ruling(Disposition.WAIT, f"Waits until {utc(case.not_before)}: the attach may still be in progress.")
    return None


def in_grace(case: Case) -> Ruling | None:
    """The sweep's grace period has not passed since the finding was first seen or since the server's last action."""
    needs_grace = case.needs is Needs.GRACE or case.needs in (Needs.NO_GUEST, Needs.PROOF)
    if not needs_grace or case.policy.door is not Door.SWEEP:
        return None
    # Nobody can lose a disk by its removal, and until then nobody else can attach the volume.
    never_connected = not is_connected(case.finding)
    grace = min(case.policy.grace, case.policy.grace_reserved) if never_connected else case.policy.grace
    moments = {
        "it was first seen": case.finding.first_seen,
        "the server's last action was": case.server_state.last_action_at,
        "the server was deleted": case.server.deleted_at if case.server else None,
    }
    for what, moment in moments.items():
        if moment and not older_than(moment, grace, case.now):
            period = f"the grace period of {grace.total_seconds():.0f} s has not passed"
            return Ruling(Disposition.WAIT, f"Waits: {what} at {utc(moment)}, and {period}.")
    return None


def host_may_still_answer(case: Case) -> Ruling | None:
    """The server is deleted, and a host has not reported whether its guest there has ended, although it can.

    A host can if it runs dedangle and libvirt. Otherwise Nova's record counts that nova-compute ended the guest. The
    same with --no-host, if the server's host has been down for more than a day.
    """
    if not case.guest_may_live or case.proved:
        return None
    silent = sorted(
        host
        for host in case.server_state.askable_hosts
        if not case.server_state.has_answered(host) and host != case.host_left_out
    )
    if not silent:
        return None
    return Ruling(
        Disposition.WAIT,
        f"Waits until host {silent[0]} proves that the guest has ended. Start nova-compute on this host first.",
        (f"dedangle cleanup {case.server_id} --execute",),
    )


def deleted_without_its_host(case: Case) -> Ruling | None:
    """Nova deleted the server without its host, no host proves that the guest ended, and --no-host is not given.

    nova-compute ends such a guest when it starts again, unless running_deleted_instance_action is noop or log. That can
    fail each time, so a waiting time is no proof.
    """
    unproved = case.guest_may_live and not case.proved and case.server is not None and case.server.may_still_run
    if not unproved or (case.policy.no_host and case.policy.door is Door.COMMAND):
        return None
    host = case.server.host if case.server else "unknown"
    return Ruling(
        Disposition.REPORT,
        f"Kept: Nova deleted the server while host {host} was down, and the guest may still run there. "
        "End the guest first.",
        _end_guest(host, case.server_id),
    )


def guest_stays_on(case: Case) -> Ruling | None:
    """Only a door that powers the guest off may act, and this door cannot."""
    if case.needs is Needs.GUEST_OFF and not (case.policy.guest_off or case.proof_suffices):
        return Ruling(Disposition.REPORT, case.advice)
    return None


def server_may_run(case: Case) -> Ruling | None:
    """The remedy needs a stopped server, a server without a host, or proof that the guest does not have the disk."""
    fit = case.is_stopped or case.restart or case.is_without_host or case.proof_suffices
    if not case.needs_no_guest or fit:
        return None
    unmoved = ", and --restart only works on an ACTIVE server" if case.policy.restart else ""
    return Ruling(Disposition.REPORT, f"The server is {_state(case.server)}{unmoved}. {case.advice}".rstrip())


def not_proved(case: Case) -> Ruling | None:
    """The remedy needs proof from every host concerned that the guest there does not have the disk.

    If a host that the server has left does not answer, --volume with --no-host replaces its proof.
    """
    if case.needs is not Needs.PROOF or case.proved:
        return None
    held_on = case.finding.held_on
    is_left_host = held_on is not None and case.explained_on is not None
    if is_left_host and case.policy.vouches_for_other_host and not case.server_state.has_answered(held_on or ""):
        return None
    return Ruling(Disposition.REPORT, case.advice)


def connected_on_another_host(case: Case) -> Ruling | None:
    """The attachment is connected through another host than the server's, and not both hosts can be asked.

    The server's host claims the server, so that it does not move meanwhile. The other host disconnects the volume.
    """
    held_on, server = case.finding.held_on, case.server
    if held_on is None or server is None or server.deleted or case.policy.vouches_for_other_host:
        return None
    answers = case.server_state.has_answered(held_on)
    if answers and case.host_acts:
        return None
    silent = server.host if answers else held_on
    return Ruling(
        Disposition.REPORT,
        f"Kept: the volume is connected through host {held_on}, and host {silent} does not run dedangle or cannot be "
        "reached from here. --volume with --no-host removes the attachment without a disconnect.",
    )


def reattach_not_asked(case: Case) -> Ruling | None:
    """The remedy attaches the volume again, and the operator has not given --reattach."""
    if case.finding.remedy is Remedy.RESTORE_ATTACHMENT and not case.policy.reattach:
        return Ruling(Disposition.REPORT, case.advice)
    return None


def not_seen_in_use(case: Case) -> Ruling | None:
    """The repair needs proof that the guest has the disk. A server that is stopped or has no host has no guest.

    If it is shown that Cinder has lost attachments in use, --reattach needs no such proof. It is still refused if the
    host proves that the guest does not have the disk.
    """
    if case.needs not in (Needs.IN_USE, Needs.PRESENCE) or case.is_seen_in_use:
        return None
    if case.needs is Needs.IN_USE:
        has_no_guest = case.is_stopped or case.restart or case.is_without_host
        if has_no_guest or (case.cinder_is_wrong and not case.is_seen_unused):
            return None
    if case.is_seen_unused:
        return Ruling(Disposition.REPORT, f"Kept: the guest does not have the disk. {case.advice}")
    return Ruling(Disposition.REPORT, f"Kept: no host proves that the guest has the disk. {case.advice}")


def connector_not_given(case: Case) -> Ruling | None:
    """Cinder needs the connector of the server's host, and neither the host nor the operator has given it."""
    host = case.server.host if case.server else None
    if not case.must_connect or case.host_acts or case.policy.connector_host == host:
        return None
    return Ruling(
        Disposition.REPORT,
        f"Kept: Cinder needs the connector of host {host}, and this host does not run dedangle or cannot be reached "
        "from here. Give the connector with --connector FILE.",
    )


def relink_not_asked(case: Case) -> Ruling | None:
    """The remedy lets the mapping name another attachment, and the operator has not given --relink."""
    if case.finding.remedy is Remedy.RELINK_MAPPING and not case.policy.relink:
        return Ruling(Disposition.REPORT, case.advice)
    return None


def host_not_asked(case: Case) -> Ruling | None:
    """The server's host must disconnect the volume, but it does not run dedangle, and --no-host is not given.

    A host without dedangle cannot prove that the address of a lost attachment still belongs to that volume.
    """
    left_out = case.is_without_host or case.policy.no_host or case.host_acts
    if case.needs is not Needs.STOPPED or left_out:
        return None
    return Ruling(
        Disposition.REPORT,
        f"Kept: host {case.finding.host} may still have the volume connected, and it does not run dedangle or cannot "
        "be reached from here. To skip the host, add --no-host.",
    )


def host_cannot_claim(case: Case) -> Ruling | None:
    """A connection must be taken down, and the host cannot claim the server: it is in ERROR, or SOFT_DELETED.

    A hard reboot cleans a server in ERROR. A SOFT_DELETED one can be cleaned without its host (--no-host).
    """
    server = case.server
    asked = case.server_state.host_acts and not case.policy.at_host and not case.is_repair
    if server is None or not asked or not server.host or server.vm_state not in UNCLAIMABLE:
        return None
    if not is_connected(case.finding) or case.policy.door is Door.REBOOT:
        return None
    if server.vm_state == SOFT_DELETED:
        if case.policy.no_host and case.policy.door is Door.COMMAND:
            return None
        return Ruling(Disposition.REPORT, "Kept: the server is SOFT_DELETED, and its host does not clean it then.")
    return Ruling(
        Disposition.REPORT,
        "Kept: the server is in ERROR, and its host cleans such a server only while it reboots.",
        (hard_reboot(case.server_id),),
    )


def restorable(case: Case) -> Ruling | None:
    """No rule above applies: the volume is attached again, or its detach is rolled back."""
    if case.finding.remedy in (Remedy.RESTORE_ATTACHMENT, Remedy.ROLL_BACK_DETACH):
        return Ruling(Disposition.RESTORE, "It can be repaired.")
    return None


def relinkable(case: Case) -> Ruling | None:
    """No rule above applies: the mapping is changed to name the other attachment."""
    if case.finding.remedy is Remedy.RELINK_MAPPING:
        return Ruling(Disposition.RELINK, "The mapping can be relinked.")
    return None


def removable(case: Case) -> Ruling:
    """No rule above applies: the row is removed."""
    if case.needs_no_guest and case.restart and not case.proof_suffices:
        return Ruling(Disposition.REMOVE, "It can be removed while the server is stopped.")
    if case.policy.door is Door.SWEEP:
        return Ruling(Disposition.REMOVE, "The next sweep removes it.")
    return Ruling(Disposition.REMOVE, "It can be removed.")


RULES: tuple[Callable[[Case], Ruling | None], ...] = (
    rows_forbid,
    root_disk,
    guest_runs_elsewhere,
    only_reported,
    work_is_open,
    guest_has_the_disk,
    image_is_open,
    just_changed,
    too_young,
    in_grace,
    host_may_still_answer,
    deleted_without_its_host,
    guest_stays_on,
    server_may_run,
    not_proved,
    connected_on_another_host,
    relink_not_asked,
    reattach_not_asked,
    not_seen_in_use,
    connector_not_given,
    host_not_asked,
    host_cannot_claim,
    restorable,
    relinkable,
    removable,
)


def dispose(case: Case) -> Ruling:
    """Return the ruling of the first rule that applies; the last rule always applies."""
    return next(_rulings(case))


def _rulings(case: Case) -> Iterator[Ruling]:
    return (ruling for rule in RULES if (ruling := rule(case)))


def _end_guest(host: str | None, server_id: str) -> tuple[str, ...]:
    """Return the commands that end a guest of a deleted server, and remove its rows once libvirt shows its end."""
    host = host or "HOST"
    cleanup = f"dedangle cleanup {server_id} --no-host --execute"
    return (destroy_guest(host, server_id), f"{no_running_guest_on(host, server_id)} && {cleanup}")


def is_connected(finding: Finding) -> bool:
    """Whether a guest may have had a disk through the rows of the finding."""
    if finding.remedy is Remedy.REMOVE_ATTACHMENT and finding.attachment:
        return not finding.attachment.is_reserved
    return finding.mapping is not None and finding.mapping.is_connected


def _state(server: Server | None) -> str:
    """Return the server's state as `openstack server list` shows it, and why SHUTOFF alone is not enough."""
    if server is None or server.vm_state is None:
        return "in an unknown state"
    return server.vm_state.upper() if server.vm_state != "stopped" else "SHUTOFF, but its power state is not SHUTDOWN"


def older_than(moment: datetime | None, span: timedelta, now: datetime) -> bool:
    """Whether the moment is at least the span ago. True for an unknown moment, and for a span of zero."""
    return not span or moment is None or now - moment >= span
