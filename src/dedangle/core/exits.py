# SPDX-License-Identifier: Apache-2.0
"""The commands that end a finding: the least harmful of the known ways that has an effect.

Each way of core/ways.py is tried by judging the pair again with the state and options that its commands would bring. So
no command is printed that would change nothing.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from datetime import datetime

from dedangle.core import deletions, manual, outside, ways
from dedangle.core.case import Policy
from dedangle.core.decisions import Disposition, Finding, Remedy, Verdict
from dedangle.core.findings import KINDS
from dedangle.core.manual import before_second_guest, no_guest_on, set_status
from dedangle.core.pair import Pair
from dedangle.core.records import Existence
from dedangle.core.ways import Simulate
from dedangle.core.work import SETTLED

_OF_MAPPINGS = (Remedy.REMOVE_MAPPING, Remedy.RELINK_MAPPING, Remedy.RESTORE_ATTACHMENT)


def judge_with_ways_out(pairs: Iterable[Pair], policy: Policy, now: datetime, judge: Simulate) -> tuple[Finding, ...]:
    """Return the findings of one server, each with its way out. `judge` is called for every way that is tried."""
    found = [(pair, finding) for pair in pairs for finding in judge(pair, policy, now)]
    to_go = {each.volume_id for _, each in found if each.mapping and each.remedy is Remedy.REMOVE_MAPPING}
    with_ways = []
    for pair, finding in found:
        commands = _way_out(finding, pair, policy, now, judge, names_volume=bool(to_go - {finding.volume_id}))
        if policy.names_volume:
            commands = tuple(_of_volume_alone(line, pair) for line in commands)
        with_ways.append(dataclasses.replace(finding, next=commands))
    borrowed = _borrowed(tuple(with_ways))
    asked = [outside.question(pair, finding) for (pair, _), finding in zip(found, borrowed, strict=True)]
    # What is kept because of another row of the server waits for the decision about that row.
    other = next(filter(None, asked), None)
    return tuple(_with_question(finding, own or other) for finding, own in zip(borrowed, asked, strict=True))


def _of_volume_alone(line: str, pair: Pair) -> str:
    """Return the command with --volume, so that it changes no other volume than the one that the operator named.

    --volume with --no-host also skips the hosts that the server has left, so those that did not answer are asked first.
    """
    command = re.search(r"dedangle cleanup (\S+)(?! --volume)( .*)", line)
    if command is None:
        return line
    server_id, options = command.groups()
    named = f"{line[: command.start()]}dedangle cleanup {server_id} --volume {pair.volume_id}{options}"
    if "--no-host" not in options:
        return named
    known = (pair.server_state.server, *pair.other_servers.rows)
    own_hosts = {server.host for server in known if server is not None and server.id == server_id}
    held = {each.id for each in (*pair.attachments, *pair.others.rows) if each.server_id == server_id}
    left = {host for volume in pair.volume.rows for ident, host in volume.hosts if ident in held} - own_hosts
    silent = sorted(host for host in left if not pair.server_state.has_answered(host))
    return "".join(f"{no_guest_on(host, server_id)} && " for host in silent) + named


def _way_out(
    finding: Finding, pair: Pair, policy: Policy, now: datetime, simulate: Simulate, *, names_volume: bool
) -> tuple[str, ...]:
    """Return the commands of the least harmful way out, in order; none if the operator must first decide something.

    `simulate` judges a pair under a policy at a moment. A finding that only waits gets the command to run after the
    wait. `names_volume` says that mappings of other volumes of the server will be removed too.
    """
    if finding.code not in KINDS and finding.verdict is not Verdict.IN_FLIGHT:
        return ()
    if finding.next:
        # The rule that keeps it also knows the first step, for example to end a guest before --no-host is used.
        return finding.next
    if finding.code == "mapping-without-attachment" and _has_no_better_right(pair):
        return ()
    host_is_down = pair.server_state.host_down is not None
    if finding.remedy is not Remedy.NONE or finding.verdict is Verdict.IN_FLIGHT:
        for way in ways.fitting(finding):
            if host_is_down and way.needs_host:
                continue
            commands = ways.commands(way, finding, pair, policy, now, simulate, names_volume=names_volume)
            if commands:
                return manual.without_deleted_guest(pair, commands)
    if host_is_down:
        # Nova refuses to stop or to reboot the server, and the wait for its new state would never end. What was never
        # connected needs no host.
        never_connected = finding.attachment is not None and finding.attachment.is_reserved
        is_free_of_host = pair.server_state.existence is Existence.DELETED and never_connected
        return _with_status_reset(finding, pair, policy, now, simulate) if is_free_of_host else ()
    if finding.code == "attachment-unknown-owner" and pair.server_state.is_journalled:
        # An id in the journal proves that the server was once Nova's. The operator still states that it is deleted.
        return ways.commands(ways.ASSUME_DELETED, finding, pair, policy, now, simulate, names_volume=False)
    return (
        _end_of_unexpected_guest(finding, pair)
        or _with_status_reset(finding, pair, policy, now, simulate)
        or before_second_guest(pair, finding, tuple(manual.commands(finding, pair)))
        or _with_deletions(finding, pair, policy, now, simulate, names_volume=names_volume)
        or _first_step(finding, pair, policy, now, simulate)
    )


def _has_no_better_right(pair: Pair) -> bool:
    """Whether another server lost the same volume, and neither it nor this one has a guest: both would let it go."""
    volume = next(iter(pair.volume.rows), None)
    if volume is None or volume.multiattach or pair.server_state.may_write or pair.attachments or pair.others.rows:
        return False
    claims = any(each.is_connected and each.server_id in pair.other_claimants for each in pair.other_servers_bdms.rows)
    return claims and not pair.other_writers


def _end_of_unexpected_guest(finding: Finding, pair: Pair) -> tuple[str, ...]:
    """Return the commands that end a guest with the volume where Nova does not expect one of the server."""
    hosts, server = pair.server_state.hosts_with_unexpected_guest(pair.volume_id), pair.server_state.server
    if finding.verdict is Verdict.IN_FLIGHT or not hosts or server is None:
        # During a live migration both hosts have the guest, and Nova's record changes last.
        return ()
    return (
        (manual.destroy_guest(hosts[0], server.id),) if server.deleted else manual.shut_down_guest(hosts[0], server.id)
    )


def _first_step(finding: Finding, pair: Pair, policy: Policy, now: datetime, simulate: Simulate) -> tuple[str, ...]:
    """Return what must be done before the finding can be judged; a rule of the command may name such a step."""
    server = pair.server_state.server
    if server is not None and server.vm_state == "stopped" and not server.is_stopped and not server.task_state:
        if server.host and pair.server_state.lost:
            # A start would connect the volumes of lost attachments again, to addresses that others may use by now.
            return tuple(line.format(server=server.id) for line in (manual.reset_to_active(server.id), *manual.STOP))
        # Nova believes it to be off, and a guest was seen: a hard reboot brings the two together.
        return before_second_guest(pair, finding, (manual.hard_reboot(server.id),))
    allowed = ways.by_command(policy, no_host=True, allow_root=True)
    found = (each for each in simulate(pair, allowed, now) if each.identity.has_rows_of(finding.identity))
    return next((each.next for each in found if each.next), ())


def _with_deletions(
    finding: Finding, pair: Pair, policy: Policy, now: datetime, simulate: Simulate, *, names_volume: bool
) -> tuple[str, ...]:
    """Return the commands for a mapping whose volume has several attachments: those that it does not name go first."""
    deletion = deletions.of_unnamed(pair) if finding.mapping else None
    if deletion is None:
        return ()
    commands, left, stops = deletion
    for each in simulate(left, policy, now):
        if each.code not in KINDS or each.mapping is None:
            continue
        # The volume was connected after its mapping was last written, so it is attached again rather than taken away.
        tried = (
            ways.commands(way, each, left, policy, now, simulate, names_volume=names_volume) for way in ways.TO_REATTACH
        )
        after = next(filter(None, tried), ()) or _way_out(each, left, policy, now, simulate, names_volume=names_volume)
        if after:
            starts = stops and not any(manual.starts(line) for line in after)
            start = (f"openstack server start {finding.server_id}",) if starts else ()
            return before_second_guest(pair, finding, (*commands, *after, *start))
    return ()


def _with_status_reset(
    finding: Finding, pair: Pair, policy: Policy, now: datetime, simulate: Simulate
) -> tuple[str, ...]:
    """Return the commands for what is kept only because of the volume's status.

    Cinder recalculates the status when an attachment is deleted, so an error is set again after that.
    """
    volume = next(iter(pair.volume.rows), None)
    if volume is None:
        return ()
    # A detach that has deleted the attachment already, and not the mapping yet.
    if finding.code == "transition-stuck" and pair.mappings and not pair.attachments and pair.others.absent:
        # Cinder does not set a volume without an attachment to in-use.
        # While its status is error, nobody can attach it; a reattach sets another status itself.
        meanwhile = "error" if manual.may_be_used_unattached(pair) else "available"
        settled = deletions.with_status(pair, volume, meanwhile)
        after = (
            _way_out(each, settled, policy, now, simulate, names_volume=False)
            for each in simulate(settled, policy, now)
            if each.code in KINDS
        )
        lines = (set_status(volume, meanwhile), *next(after, ()))
        is_removed = len(lines) > 1 and not any("--reattach" in line for line in lines)
        if meanwhile == "error" and is_removed and pair.other_servers_bdms.absent:
            return (*lines, set_status(volume, "available"))
        return lines
    if finding.remedy is not Remedy.REMOVE_ATTACHMENT or not finding.attachment or volume.status in SETTLED:
        return ()
    # While a volume is in-use nobody else can attach it. Cinder sets this status only if something holds the volume.
    meanwhile = "in-use" if _may_be_held(pair) else "available"
    settled = deletions.with_status(pair, volume, meanwhile)
    for way in ways.fitting(finding):
        commands = ways.commands(way, finding, settled, policy, now, simulate, names_volume=False)
        if commands:
            kept = manual.kept_status(volume.status)
            return (set_status(volume, meanwhile), *commands, set_status(volume, kept))
    return ()


def _may_be_held(pair: Pair) -> bool:
    """Whether an attachment may have the volume connected, or another server may hold it."""
    return not pair.others.absent or any(not each.is_reserved for each in pair.attachments)


def _borrowed(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Give an attachment that is kept because of a mapping of the same server the way out of that mapping.

    What becomes of an attachment depends on the mapping of its volume. And no attachment of a server is removed while
    one of its mappings names an attachment that Cinder does not have.
    """
    of_mappings = [each for each in findings if each.next and each.mapping]
    lost = next((each.next for each in of_mappings if each.remedy in _OF_MAPPINGS or _depends(each)), ())

    def lent(finding: Finding) -> tuple[str, ...]:
        beside = (each.next for each in of_mappings if each.volume_id == finding.volume_id)
        is_kept = finding.remedy is Remedy.REMOVE_ATTACHMENT or finding.code == "mapping-duplicated"
        return next(beside, lost if is_kept else ())

    return tuple(
        dataclasses.replace(each, next=lent(each)) if each.code in KINDS and not each.next and _depends(each) else each
        for each in findings
    )


def _with_question(finding: Finding, asked: outside.Question | None) -> Finding:
    """Return the finding with what a person must decide, if no command ends it and nothing is waited for."""
    if asked is None or finding.next or finding.code not in KINDS or finding.disposition is Disposition.WAIT:
        return finding
    return dataclasses.replace(finding, advice=f"{finding.advice} Decide {asked.asks}.".lstrip())


def _depends(finding: Finding) -> bool:
    """Whether another mapping decides what becomes of the row."""
    return finding.mapping is None or finding.code == "mapping-duplicated"
