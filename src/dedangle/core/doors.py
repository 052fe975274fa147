# SPDX-License-Identifier: Apache-2.0
"""What a door may do about a finding: an ordered tuple of rules, the first of which that applies decides.

The manual's page of rules is generated from the names and first sentences in RULES, in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from dedangle.core.case import Case, Ruling
from dedangle.core.decisions import Disposition, Door, Finding, Remedy, Verdict
from dedangle.core.findings import Needs
from dedangle.core.records import Server
from dedangle.core.times import utc

# Longer than a Galera node that wakes up, or a replica behind a backup, is seen to lag; nothing younger is believed
# against the other side.
SETTLED_AFTER = timedelta(minutes=2)


def guest_has_the_disk(case: Case) -> Ruling | None:
    """A host shows the volume in the running guest: it is kept, unless the door takes that guest off first.

    "First" holds of the guest on the server's own host alone. The same for a guest that runs where none should, with a
    disk that nobody recognises, and for a disk that the guest has by right: that excuses the attachment beside it.
    """
    if case.is_repair:
        return None
    own_host = case.server.host if case.server else None
    for host in case.server_state.hosts_with_disk(case.finding.volume_id, unexpected=_is_connected(case.finding)):
        if host == case.explained_on or (host == own_host and case.guest_goes_off):
            continue
        kept = f"Kept: the guest that runs on host {host} has the disk."
        if case.server is None or case.server.deleted:
            return Ruling(Disposition.REPORT, f"{kept} End that guest first.", _end_guest(host, case.server_id))
        return Ruling(Disposition.REPORT, f"{kept} {case.advice}".rstrip())
    return None


def held(case: Case) -> Ruling | None:
    """Something about the rows themselves forbids the remedy, such as a lost attachment beside an unknown one."""
    return Ruling(Disposition.REPORT, f"Kept: {case.kept_because}.") if case.kept_because else None


def work_is_open(case: Case) -> Ruling | None:
    """Work on the server has not ended, though it shows no progress any more: nothing goes on the word of its age."""
    # A host that is down is no work; the judgement has decided on it. What is rolled back is the volume's own work.
    ignored = {"host"} | ({"volume"} if case.finding.remedy is Remedy.ROLL_BACK_DETACH else set())
    open_work = [each for each in case.open_work if each.kind not in ignored]
    return Ruling(Disposition.REPORT, f"Kept: {open_work[0]}. End that first.") if open_work else None


def root_disk(case: Case) -> Ruling | None:
    """The mapping is the root disk's: it is kept, unless --allow-root is named for a server without a guest."""
    has_no_guest = case.is_stopped or case.is_without_host
    allowed = case.policy.allow_root and case.policy.door is Door.COMMAND and has_no_guest
    if case.finding.verdict is not Verdict.PROTECTED or case.is_repair or allowed:
        return None
    return Ruling(Disposition.PROTECT, "Kept: it is the root disk, without which the server does not boot.")


def only_reported(case: Case) -> Ruling | None:
    """The code has no remedy, or none at this door."""
    undecided = case.finding.verdict is Verdict.MISMATCH and not case.is_repair
    if undecided or case.finding.verdict is Verdict.FOREIGN or case.needs is Needs.NEVER:
        return Ruling(Disposition.REPORT, case.advice)
    return None


def just_changed(case: Case) -> Ruling | None:
    """A row was changed, or was first seen, less than two minutes ago: it waits.

    A read may miss what another node wrote a moment ago, and asking the same node again proves nothing. When Cinder's
    row was made its API does not tell, so that it counts from when it was first seen, over runs.
    """
    settled_after = SETTLED_AFTER
    if case.changed_at and not older_than(case.changed_at, settled_after, case.now):
        until = case.changed_at + settled_after
        return Ruling(Disposition.WAIT, f"It waits until {utc(until)}: its row changed less than two minutes before.")
    first_seen = case.finding.first_seen
    settled_after = min(settled_after, case.policy.grace)
    if case.age_is_unknown and first_seen and not older_than(first_seen, settled_after, case.now):
        until = first_seen + settled_after
        return Ruling(
            Disposition.WAIT,
            f"It waits until {utc(until)}: it was first seen less than two minutes before.",
        )
    return None


def too_young(case: Case) -> Ruling | None:
    """The attach that made the mapping may still be in progress: it waits as long as Nova lets an attach take."""
    if case.not_before and case.now < case.not_before:
        return Ruling(Disposition.WAIT, f"It waits until {utc(case.not_before)}: the attach may still be in progress.")
    return None


def in_grace(case: Case) -> Ruling | None:
    """The sweep's grace period has not passed since the finding was first seen, or since the server's last action."""
    needs_grace = case.needs is Needs.GRACE or case.needs in (Needs.NO_GUEST, Needs.PROOF)
    if not needs_grace or case.policy.door is not Door.SWEEP:
        return None
    # Nobody can lose a disk by it, and it keeps the volume from everybody else.
    never_connected = not _is_connected(case.finding)
    grace = min(case.policy.grace, case.policy.grace_reserved) if never_connected else case.policy.grace
    moments = {
        "it was first seen": case.finding.first_seen,
        "the server's last action was": case.server_state.last_action_at,
        "the server was deleted": case.server.deleted_at if case.server else None,
    }
    for what, moment in moments.items():
        if moment and not older_than(moment, grace, case.now):
            return Ruling(
                Disposition.WAIT, f"It waits: {what} {utc(moment)}, less than {grace.total_seconds():.0f} s ago."
            )
    return None


def host_may_still_answer(case: Case) -> Ruling | None:
    """The server is deleted, and a host that runs dedangle has not told whether its guest there is gone."""
    if not case.guest_may_live or case.proved:
        return None
    silent = sorted(host for host in case.server_state.askable_hosts if not case.server_state.has_answered(host))
    if not silent:
        return None
    return Ruling(
        Disposition.WAIT,
        f"It waits for host {silent[0]} to prove that the guest is gone: bring its nova-compute back first.",
        (f"dedangle cleanup {case.server_id} --execute",),
    )


def deleted_without_its_host(case: Case) -> Ruling | None:
    """Nova deleted the server without its host, no host can prove that the guest ended, and nobody vouches for it.

    nova-compute ends such a guest when it is back, unless running_deleted_instance_action says noop or log; that can
    fail each time, so that no time that passes is proof.
    """
    unproved = case.guest_may_live and not case.proved and case.server is not None and case.server.may_still_run
    if not unproved or (case.policy.no_host and case.policy.door is Door.COMMAND):
        return None
    host = case.server.host if case.server else "unknown"
    return Ruling(
        Disposition.REPORT,
        f"Kept: Nova deleted the server while host {host} was down, so the guest may still run there. End it first.",
        _end_guest(host, case.server_id),
    )


def guest_stays_on(case: Case) -> Ruling | None:
    """Only a door that powers the guest off may act, and this one cannot."""
    if case.needs is Needs.GUEST_OFF and not (case.policy.guest_off or case.proof_suffices):
        return Ruling(Disposition.REPORT, case.advice)
    return None


def server_may_run(case: Case) -> Ruling | None:
    """The remedy needs a stopped server, one without a host, or a guest that is proved not to have the disk."""
    fit = case.is_stopped or case.restart or case.is_without_host or case.proof_suffices
    if not case.needs_no_guest or fit:
        return None
    unmoved = "; --restart only works on an ACTIVE server" if case.policy.restart else ""
    return Ruling(Disposition.REPORT, f"The server is {_state(case.server)}{unmoved}. {case.advice}".rstrip())


def not_proved(case: Case) -> Ruling | None:
    """The remedy needs the proof of every host concerned that the guest there does not have the disk."""
    return Ruling(Disposition.REPORT, case.advice) if case.needs is Needs.PROOF and not case.proved else None


def reattach_not_asked(case: Case) -> Ruling | None:
    """The volume would be attached anew, and the operator has not named --reattach."""
    if case.finding.remedy is Remedy.RESTORE_ATTACHMENT and not case.policy.reattach:
        return Ruling(Disposition.REPORT, case.advice)
    return None


def not_seen_in_use(case: Case) -> Ruling | None:
    """The repair needs the proof that the guest has the disk; a server that is off, or on no host, has no guest.

    Where Cinder is shown to be the wrong side, attaching anew needs no proof, unless the guest is proved to lack it.
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
    """Cinder connects a volume through a connector, and neither the server's host nor the operator gives it."""
    host = case.server.host if case.server else None
    if not case.must_connect or case.host_acts or case.policy.connector_host == host:
        return None
    return Ruling(
        Disposition.REPORT,
        f"Kept: the connector of host {host} is needed, and the host does not run dedangle or cannot be reached from "
        "here. --connector FILE gives it.",
    )


def relink_not_asked(case: Case) -> Ruling | None:
    """The mapping would name another attachment, and the operator has not named --relink."""
    if case.finding.remedy is Remedy.RELINK_MAPPING and not case.policy.relink:
        return Ruling(Disposition.REPORT, case.advice)
    return None


def host_not_asked(case: Case) -> Ruling | None:
    """The server's host would have to take the connection down, does not run dedangle, and nobody named --no-host.

    Without dedangle a host cannot show that the address of a lost attachment is still that volume's.
    """
    left_out = case.is_without_host or case.policy.no_host or case.host_acts
    if case.needs is not Needs.STOPPED or left_out:
        return None
    return Ruling(
        Disposition.REPORT,
        f"Kept: host {case.finding.host} does not run dedangle, or cannot be reached from here, and may keep the "
        "connection. --no-host skips the host.",
    )


def restorable(case: Case) -> Ruling | None:
    """Nothing is in the way: the volume is attached anew, or its detach is rolled back."""
    if case.finding.remedy in (Remedy.RESTORE_ATTACHMENT, Remedy.ROLL_BACK_DETACH):
        return Ruling(Disposition.RESTORE, "It can be repaired.")
    return None


def relinkable(case: Case) -> Ruling | None:
    """Nothing is in the way: the mapping is relinked."""
    if case.finding.remedy is Remedy.RELINK_MAPPING:
        return Ruling(Disposition.RELINK, "It can be relinked.")
    return None


def removable(case: Case) -> Ruling:
    """Nothing is in the way: the row is removed."""
    if case.needs_no_guest and case.restart and not case.proof_suffices:
        return Ruling(Disposition.REMOVE, "It can be removed while the server is stopped.")
    if case.policy.door is Door.SWEEP:
        return Ruling(Disposition.REMOVE, "The next sweep removes it.")
    return Ruling(Disposition.REMOVE, "It can be removed.")


RULES: tuple[Callable[[Case], Ruling | None], ...] = (
    held,
    root_disk,
    only_reported,
    work_is_open,
    guest_has_the_disk,
    just_changed,
    too_young,
    in_grace,
    host_may_still_answer,
    deleted_without_its_host,
    guest_stays_on,
    server_may_run,
    not_proved,
    relink_not_asked,
    reattach_not_asked,
    not_seen_in_use,
    connector_not_given,
    host_not_asked,
    restorable,
    relinkable,
    removable,
)


def dispose(case: Case) -> Ruling:
    """Return the ruling of the first rule that applies; the last one always does."""
    return next(_rulings(case))


def _rulings(case: Case) -> Iterator[Ruling]:
    return (ruling for rule in RULES if (ruling := rule(case)))


def _end_guest(host: str | None, server_id: str) -> tuple[str, ...]:
    """Return the commands that end a guest that Nova does not know any more, and clean up after it."""
    return (f"ssh {host or 'HOST'} virsh destroy {server_id}", f"dedangle cleanup {server_id} --no-host --execute")


def _is_connected(finding: Finding) -> bool:
    """Whether a guest may have had a disk through it."""
    if finding.remedy is Remedy.REMOVE_ATTACHMENT and finding.attachment:
        return not finding.attachment.is_reserved
    return finding.mapping is not None and finding.mapping.is_connected


def _state(server: Server | None) -> str:
    """The server's state as `openstack server list` shows it, and why it is not stopped where it says so."""
    if server is None or server.vm_state is None:
        return "in no known state"
    return server.vm_state.upper() if server.vm_state != "stopped" else "SHUTOFF, but its guest was not seen to be off"


def older_than(moment: datetime | None, span: timedelta, now: datetime) -> bool:
    """Whether the moment is at least the span ago; an unknown moment is, and nothing is younger than no span at all."""
    return not span or moment is None or now - moment >= span
