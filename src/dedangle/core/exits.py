# SPDX-License-Identifier: Apache-2.0
"""The commands that end a finding: the least harmful of the known ways that has an effect.

Each way in WAYS is tried by judging the pair again with the state and options that its commands would bring. So no
command is printed that would change nothing.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from dedangle.core import deletions, manual, outside, planning
from dedangle.core.case import Policy
from dedangle.core.decisions import Disposition, Door, Finding, Remedy, Verdict, way_out
from dedangle.core.deletions import SHUTDOWN, with_server
from dedangle.core.doors import SETTLED_AFTER
from dedangle.core.findings import KINDS
from dedangle.core.manual import OFFLOAD, STOP, activate, before_second_guest, no_guest_on, set_status
from dedangle.core.pair import Pair
from dedangle.core.pairing import SETTLED
from dedangle.core.records import Reading, Volume

_OF_MAPPINGS = (Remedy.REMOVE_MAPPING, Remedy.RELINK_MAPPING, Remedy.RESTORE_ATTACHMENT)
# A start uses the connection_info of the mapping, and a relinked mapping has none. Only an unshelve asks Cinder for it.
_RECONNECT = (OFFLOAD, "openstack server unshelve --wait {server}")
# The statuses of a volume without attachments that a new attachment may replace.
_LEFT_BY_LOST = (
    "in-use",
    "reserved",
    "error",
    "error_attaching",
    "error_detaching",
    "error_extending",
    "error_restoring",
)

Simulate = Callable[[Pair, Policy, datetime], tuple[Finding, ...]]


class Way(NamedTuple):
    """One way to end a finding: a `dedangle cleanup` command and the commands before it."""

    options: str
    """Options of `dedangle cleanup`."""
    allows: dict[str, bool]
    """Fields of Policy that the options set."""
    stops: bool = False
    """Whether a command before it stops the server."""
    fetches_connector: bool = False
    """Whether a command before it fetches the connector of the server's host."""


# An option that has another effect than its own would change more than the finding needs.
_REMEDIES = {"reattach": Remedy.RESTORE_ATTACHMENT, "relink": Remedy.RELINK_MAPPING}
_OTHER_HOST = {"no_host": True, "names_volume": True}
_REATTACH = {"reattach": True}
_REATTACH_STOPPED = {"reattach": True, "restart": True}
_ASSUME_DELETED = Way(" --assume-deleted", {"assume_deleted": True})
WAYS = (
    Way("", {}),
    Way(" --reattach", _REATTACH),
    Way(" --reattach", _REATTACH, fetches_connector=True),
    Way(" --relink", {"relink": True}),
    Way(" --restart", {"restart": True}),
    Way(" --no-host", {"no_host": True}),
    Way(" --restart --no-host", {"restart": True, "no_host": True}),
    Way(" --volume {volume} --no-host", _OTHER_HOST),
    Way(" --volume {volume} --restart --no-host", {**_OTHER_HOST, "restart": True}),
    Way(" --reattach --restart", _REATTACH_STOPPED),
    Way(" --reattach --restart", _REATTACH_STOPPED, fetches_connector=True),
    Way(" --reattach", _REATTACH, stops=True),
    Way(" --reattach", _REATTACH, fetches_connector=True, stops=True),
    Way(" --relink", {"relink": True}, stops=True),
    Way("", {}, stops=True),
    Way(" --no-host", {"no_host": True}, stops=True),
    Way(" --allow-root --no-host", {"allow_root": True, "no_host": True}),
    Way(" --allow-root --no-host", {"allow_root": True, "no_host": True}, stops=True),
)
"""Least harmful first: no downtime; downtime; connections left on a host; a server that loses its root disk."""


_WAYS_TO_REATTACH = tuple(way for way in WAYS if way.allows.get("reattach"))


def judge_with_ways_out(pairs: Iterable[Pair], policy: Policy, now: datetime, judge: Simulate) -> tuple[Finding, ...]:
    """Return the findings of one server, each with its way out. `judge` is called for every way that is tried."""
    found = [(pair, finding) for pair in pairs for finding in judge(pair, policy, now)]
    to_go = {each.volume_id for _, each in found if each.mapping and each.remedy is Remedy.REMOVE_MAPPING}
    with_ways = []
    for pair, finding in found:
        commands = _way_out(finding, pair, policy, now, judge, names_volume=bool(to_go - {finding.volume_id}))
        if policy.names_volume:
            commands = tuple(_of_volume_alone(line, pair) for line in commands)
        with_ways.append(_with_next(finding, commands))
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
    if finding.remedy is not Remedy.NONE or finding.verdict is Verdict.IN_FLIGHT:
        for way in _ways_for(finding):
            commands = _commands(way, finding, pair, policy, now, simulate, names_volume=names_volume)
            if commands:
                return commands
    if finding.code == "attachment-unknown-owner" and pair.server_state.is_journalled:
        # An id in the journal proves that the server was once Nova's. The operator still states that it is deleted.
        return _commands(_ASSUME_DELETED, finding, pair, policy, now, simulate, names_volume=False)
    return (
        _end_of_unexpected_guest(finding, pair)
        or _with_status_reset(finding, pair, policy, now, simulate)
        or before_second_guest(pair, finding, tuple(manual.commands(finding, pair)))
        or _with_deletions(finding, pair, policy, now, simulate, names_volume=names_volume)
        or _first_step(finding, pair, policy, now, simulate)
    )


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
            return tuple(line.format(server=server.id) for line in (manual.reset_to_active(server.id), *STOP))
        # Nova believes it to be off, and a guest was seen: a hard reboot brings the two together.
        return before_second_guest(pair, finding, (manual.hard_reboot(server.id),))
    allowed = _by_command(policy, no_host=True, allow_root=True)
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
        ways = (
            _commands(way, each, left, policy, now, simulate, names_volume=names_volume) for way in _WAYS_TO_REATTACH
        )
        after = next(filter(None, ways), ()) or _way_out(each, left, policy, now, simulate, names_volume=names_volume)
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
        settled = _with_status(pair, volume, meanwhile)
        after = (
            _way_out(each, settled, policy, now, simulate, names_volume=False)
            for each in simulate(settled, policy, now)
            if each.code in KINDS
        )
        lines = (set_status(volume.id, meanwhile), *next(after, ()))
        is_removed = len(lines) > 1 and not any("--reattach" in line for line in lines)
        if meanwhile == "error" and is_removed and pair.other_servers_bdms.absent:
            return (*lines, set_status(volume.id, "available"))
        return lines
    if finding.remedy is not Remedy.REMOVE_ATTACHMENT or not finding.attachment or volume.status in SETTLED:
        return ()
    # While a volume is in-use nobody else can attach it. Cinder sets this status only if something holds the volume.
    meanwhile = "in-use" if _may_be_held(pair) else "available"
    settled = _with_status(pair, volume, meanwhile)
    for way in _ways_for(finding):
        commands = _commands(way, finding, settled, policy, now, simulate, names_volume=False)
        if commands:
            kept = manual.kept_status(volume.status)
            return (set_status(volume.id, meanwhile), *commands, set_status(volume.id, kept))
    return ()


def _may_be_held(pair: Pair) -> bool:
    """Whether an attachment may have the volume connected, or another server may hold it."""
    return not pair.others.absent or any(not each.is_reserved for each in pair.attachments)


def _with_status(pair: Pair, volume: Volume, status: str) -> Pair:
    """Return the pair as it is when somebody has set the volume's status, so that no work on it is open."""
    state = pair.server_state
    markers = tuple(each for each in state.markers if each.kind != "volume" or each.volume_id != volume.id)
    return dataclasses.replace(
        pair,
        volume=Reading((dataclasses.replace(volume, status=status),)),
        server_state=dataclasses.replace(state, markers=markers),
    )


def _ways_for(finding: Finding) -> Iterator[Way]:
    """Yield the ways that fit the finding: a volume in use is attached again, a detached volume is removed.

    A volume that cannot be removed, because another server uses it on the host, is attached again too.
    """
    is_in_use = finding.remedy is Remedy.RESTORE_ATTACHMENT
    may_be_in_use = is_in_use or finding.verdict is Verdict.PROTECTED or finding.code == "mapping-names-lost-attachment"
    away = [] if is_in_use else [way for way in WAYS if way not in _WAYS_TO_REATTACH]
    yield from WAYS if may_be_in_use and away else (*away, *_WAYS_TO_REATTACH)


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
        _with_next(each, lent(each)) if each.code in KINDS and not each.next and _depends(each) else each
        for each in findings
    )


def _with_question(finding: Finding, asked: outside.Question | None) -> Finding:
    """Return the finding with what a person must decide, if no command ends it and nothing is waited for."""
    if asked is None or finding.next or finding.code not in KINDS or finding.disposition is Disposition.WAIT:
        return finding
    return dataclasses.replace(finding, reason=f"{finding.reason} Decide {asked.asks}.")


def _depends(finding: Finding) -> bool:
    """Whether another mapping decides what becomes of the row."""
    return finding.mapping is None or finding.code == "mapping-duplicated"


def _with_next(finding: Finding, commands: tuple[str, ...]) -> Finding:
    """Return the finding with its way out in `next` and at the end of `reason`."""
    return dataclasses.replace(finding, next=commands, reason=f"{finding.reason}{way_out(commands)}")


def _commands(
    way: Way,
    finding: Finding,
    pair: Pair,
    policy: Policy,
    now: datetime,
    simulate: Simulate,
    *,
    names_volume: bool,
) -> tuple[str, ...]:
    """Return the commands of the way if they would end the finding; else none."""
    server = pair.server_state.server
    before: list[str] = []
    if (way.stops or way.allows.get("restart")) and server is not None and not server.deleted:
        to_active = activate(server.vm_state)
        if to_active:
            before.extend(to_active)
            server = dataclasses.replace(server, vm_state="active")
        if way.stops:
            if server.vm_state not in ("active", "error") or server.host is None:
                return ()
            before.extend(STOP)
            server = dataclasses.replace(server, vm_state="stopped", power_state=SHUTDOWN)
    elif way.stops:
        return ()
    options = way.options
    if way.fetches_connector:
        if server is None or server.host is None:
            return ()
        before.append(f"ssh {server.host} nova-manage volume_attachment get_connector --json > connector.json")
        options += " --connector connector.json"
    volume = next(iter(pair.volume.rows), None)
    is_unheld = volume is not None and not volume.multiattach and _is_unheld(pair)
    resets_status = way.allows.get("reattach") or finding.code == "mapping-never-launched"
    if resets_status and volume is not None and volume.status in _LEFT_BY_LOST and is_unheld:
        # Cinder attaches only a volume that is available; this one has its status still from the lost attachment. The
        # mapping of a server without a guest is only kept because the status contradicts the missing attachment.
        before.append(set_status(volume.id, "available"))
        pair = _with_status(pair, volume, "available")
    acting = _acting(way, finding, with_server(pair, server), policy, now, simulate)
    if not acting:
        return ()
    # A mapping that is relinked to a connected attachment keeps its connection_info.
    is_connected = any(each.attachment and not each.attachment.is_reserved for each in acting)
    relinks = (
        way.allows.get("relink") and server is not None and server.host and server.vm_state in ("active", "stopped")
    )
    after: tuple[str, ...] = _RECONNECT if relinks and not is_connected else ()
    if way.stops and not after and not way.allows.get("allow_root"):
        after = ("openstack server start {server}",)
    cleanup = _cleanup(way, options, finding, names_volume=names_volume)
    if before and _check(finding):
        before[0] = f"{_check(finding)}{before[0]}"
    lines = before_second_guest(pair, finding, (*before, cleanup, *after))
    return tuple(line.format(server=finding.server_id, volume=finding.volume_id) for line in lines)


def _is_unheld(pair: Pair) -> bool:
    """Whether nobody else has the volume: no other server, deleted or not, and no other client of Cinder."""
    alone = pair.others.absent and pair.other_servers_bdms.absent
    return alone and all(each.status == "error_attaching" for each in pair.attachments)


def _acting(way: Way, finding: Finding, pair: Pair, policy: Policy, now: datetime, simulate: Simulate) -> list[Finding]:
    """Return what the command of the way would change of the finding's rows, by the remedy that its options are for."""
    server = pair.server_state.server
    connector_host = server.host if way.fetches_connector and server else None
    allowed = _by_command(policy, connector_host=connector_host, **way.allows)
    later = now + max(policy.grace, policy.attach_timeout, SETTLED_AFTER)
    changes = planning.changes(simulate(pair, allowed, later))
    remedies = {remedy for option, remedy in _REMEDIES.items() if way.allows.get(option)}
    return [
        each
        for each in changes
        if each.identity.has_rows_of(finding.identity) and (not remedies or each.remedy in remedies)
    ]


def _by_command(policy: Policy, connector_host: str | None = None, **allows: bool) -> Policy:
    """Return the policy of `dedangle cleanup` with the given options."""
    return Policy(
        door=Door.COMMAND,
        grace=timedelta(),
        attach_timeout=policy.attach_timeout,
        grace_reserved=timedelta(),
        available_means_gone=policy.available_means_gone,
        connector_host=connector_host,
        **allows,
    )


def _check(finding: Finding) -> str:
    """Return the start of a line that goes on only if Cinder's database is not older than the mapping."""
    made = finding.mapping.created_at if finding.mapping else None
    if finding.code != "mapping-of-missing-volume" or made is None:
        return ""
    return f"{manual.cinder_is_newer_than(made)} && "


def _cleanup(way: Way, options: str, finding: Finding, *, names_volume: bool) -> str:
    """Return the command of dedangle; with names_volume --reattach would attach what another finding says is to go."""
    if names_volume and way.allows.get("reattach"):
        options = f" --volume {{volume}}{options}"
    command = f"dedangle cleanup {{server}}{options} --execute"
    if way.allows.get("names_volume"):
        # Nothing is removed unless libvirt answers there, and has no guest of the server.
        return f"{no_guest_on(finding.held_on or 'HOST', finding.server_id)} && {command}"
    return f"{_check(finding)}{command}"
