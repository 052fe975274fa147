# SPDX-License-Identifier: Apache-2.0
"""The commands that end a finding: the least harmful of the known ways that has an effect.

Each way in WAYS is tried by judging the pair again with the state and options that its commands would bring. So no
command is printed that would change nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from dedangle.core import planning
from dedangle.core.case import Policy
from dedangle.core.decisions import Door, Finding, Remedy, Verdict, way_out
from dedangle.core.doors import SETTLED_AFTER
from dedangle.core.findings import KINDS
from dedangle.core.pair import Pair
from dedangle.core.records import Disk, Reading, Server

_OF_MAPPINGS = (Remedy.REMOVE_MAPPING, Remedy.RELINK_MAPPING)
# What nova/virt/fake.py and libvirt report for a guest that is off (nova/compute/power_state.py:SHUTDOWN).
_SHUTDOWN = 4
# How to bring a paused, suspended or rescued server to ACTIVE. Only an ACTIVE server can be stopped.
_TO_ACTIVE = {
    "paused": "openstack server unpause {server}",
    "suspended": "openstack server resume {server}",
    "rescued": "openstack server unrescue {server}",
}
# `server stop` returns at once, but the guest may take a minute to shut down.
_STOP = (
    "openstack server stop {server}",
    'until [ "$(openstack server show -f value -c status {server})" = SHUTOFF ]; do sleep 2; done',
)
# A start uses the connection_info of the mapping, and a relinked mapping has none. Only an unshelve asks Cinder for it.
_RECONNECT = ("openstack server shelve --offload --wait {server}", "openstack server unshelve --wait {server}")

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


_OTHER_HOST = {"no_host": True, "names_volume": True}
_REATTACH = {"reattach": True}
_REATTACH_STOPPED = {"reattach": True, "restart": True}
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
    Way(" --relink", {"relink": True}, stops=True),
    Way(" --allow-root --no-host", {"allow_root": True, "no_host": True}),
    Way(" --allow-root --no-host", {"allow_root": True, "no_host": True}, stops=True),
)
"""Least harmful first: no downtime; downtime; connections left on a host; a server that loses its root disk."""


def judge_with_ways_out(pairs: Iterable[Pair], policy: Policy, now: datetime, judge: Simulate) -> tuple[Finding, ...]:
    """Return the findings of one server, each with its way out. `judge` is called for every way that is tried."""
    found = [(pair, finding) for pair in pairs for finding in judge(pair, policy, now)]
    to_go = {each.volume_id for _, each in found if each.mapping and each.remedy is Remedy.REMOVE_MAPPING}
    return _borrowed(
        tuple(
            _with_next(
                finding,
                _way_out(finding, pair, policy, now, judge, names_volume=bool(to_go - {finding.volume_id})),
            )
            for pair, finding in found
        )
    )


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
    fixed = _unless_a_guest_runs(pair, finding, tuple(_fixed(finding, pair)))
    return tuple(line.format(server=finding.server_id) for line in fixed)


def _ways_for(finding: Finding) -> Iterator[Way]:
    """Yield the ways that fit the finding: a volume in use is attached again, a detached volume is removed.

    A volume that cannot be removed, because another server uses it on the host, is attached again too.
    """
    is_in_use = finding.remedy is Remedy.RESTORE_ATTACHMENT
    may_be_in_use = is_in_use or finding.verdict is Verdict.PROTECTED or finding.code == "mapping-names-lost-attachment"
    back = [way for way in WAYS if way.allows.get("reattach")]
    away = [] if is_in_use else [way for way in WAYS if way not in back]
    yield from WAYS if may_be_in_use and away else (*away, *back)


def _borrowed(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Give an attachment that is kept because of a mapping of the same server the way out of that mapping.

    No attachment of a server is removed while one of its mappings names an attachment that Cinder does not have.
    """
    lost = (each.next for each in findings if each.next and each.remedy in _OF_MAPPINGS)
    commands = next(lost, ())
    return tuple(
        _with_next(finding, commands) if finding.remedy is Remedy.REMOVE_ATTACHMENT and not finding.next else finding
        for finding in findings
    )


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
        if server.vm_state in _TO_ACTIVE:
            before.append(_TO_ACTIVE[server.vm_state])
            server = dataclasses.replace(server, vm_state="active")
        if way.stops:
            if server.vm_state not in ("active", "error") or server.host is None:
                return ()
            before.extend(_STOP)
            server = dataclasses.replace(server, vm_state="stopped", power_state=_SHUTDOWN)
    elif way.stops:
        return ()
    options = way.options
    if way.fetches_connector:
        if server is None or server.host is None:
            return ()
        before.append(f"ssh {server.host} nova-manage volume_attachment get_connector --json > connector.json")
        options += " --connector connector.json"
    volume = next(iter(pair.volume.rows), None)
    is_unheld = volume is not None and not (volume.multiattach or pair.attachments)
    if way.allows.get("reattach") and volume is not None and volume.status == "in-use" and is_unheld:
        # Cinder attaches only a volume that is available; this one is still in-use because of the lost attachment.
        before.append(f"openstack volume set --state available {volume.id}")
        pair = dataclasses.replace(pair, volume=Reading((dataclasses.replace(volume, status="available"),)))
    allowed = Policy(
        door=Door.COMMAND,
        grace=timedelta(),
        attach_timeout=policy.attach_timeout,
        grace_reserved=timedelta(),
        available_means_gone=policy.available_means_gone,
        connector_host=server.host if way.fetches_connector and server else None,
        **way.allows,
    )
    later = now + max(policy.grace, policy.attach_timeout, SETTLED_AFTER)
    findings = simulate(_with_server(pair, server), allowed, later)
    acting = [each for each in planning.changes(findings) if each.identity.has_rows_of(finding.identity)]
    if not acting:
        return ()
    # A mapping that is relinked to a connected attachment keeps its connection_info.
    is_connected = any(each.attachment and not each.attachment.is_reserved for each in acting)
    relinks = way.allows.get("relink") and server is not None and server.host
    after: tuple[str, ...] = _RECONNECT if relinks and not is_connected else ()
    if relinks and is_connected and way.stops:
        after = ("openstack server start {server}",)
    cleanup = _cleanup(way, options, finding, names_volume=names_volume)
    lines = _unless_a_guest_runs(pair, finding, (*before, cleanup, *after))
    return tuple(line.format(server=finding.server_id, volume=finding.volume_id) for line in lines)


def _cleanup(way: Way, options: str, finding: Finding, *, names_volume: bool) -> str:
    """Return the command of dedangle; with names_volume --reattach would attach what another finding says is to go."""
    if names_volume and way.allows.get("reattach"):
        options = f" --volume {{volume}}{options}"
    command = f"dedangle cleanup {{server}}{options} --execute"
    if way.allows.get("names_volume"):
        return f"{_no_guest_on(finding.held_on or 'HOST')} && {command}"
    return command


def _no_guest_on(host: str) -> str:
    """Return the command that succeeds if libvirt answers on the host and has no guest of the server."""
    return f"ssh {host} 'virsh list && ! virsh dominfo {{server}}'"


def _unless_a_guest_runs(pair: Pair, finding: Finding, lines: tuple[str, ...]) -> tuple[str, ...]:
    """Return the lines that end a migration; the first one asks the other host, if that host is silent.

    After a live migration that died the guest may run on the host of the attachment that the mapping names.
    """
    state, volume = pair.server_state, next(iter(pair.volume.rows), None)
    if finding.code != "migration-half-done" or volume is None or state.server is None:
        return lines
    if state.server.host in state.hosts_with_disk(pair.volume_id):
        return lines
    named = {volume.host_of(mapping.attachment_id) for mapping in pair.mappings if mapping.attachment_id}
    silent = sorted(host for host in named if host and host != state.server.host and not state.has_answered(host))
    return ("".join(f"{_no_guest_on(host)} && " for host in silent) + lines[0], *lines[1:]) if silent else lines


def _with_server(pair: Pair, server: Server | None) -> Pair:
    """Return the pair with the server in the given state; a stopped server has no running guest on its host."""
    state = pair.server_state
    if server == state.server:
        return pair
    changed = dataclasses.replace(state, server=server)
    if server is not None and server.is_stopped:
        guests = {host: _off(reading) if host == server.host else reading for host, reading in state.guests.items()}
        changed = dataclasses.replace(changed, guests=guests)
    return dataclasses.replace(pair, server_state=changed)


def _off(reading: Reading[Disk]) -> Reading[Disk]:
    """Return the reading of a host as it is when the server's guest there is off."""
    return dataclasses.replace(
        reading, rows=tuple(dataclasses.replace(disk, is_running=False) for disk in reading.rows)
    )


def _fixed(finding: Finding, pair: Pair) -> Iterator[str]:
    """Yield the commands for a finding that dedangle itself has no remedy for."""
    volume = next(iter(pair.volume.rows), None)
    own = next((each for each in pair.attachments if each.id == finding.attachment_id), None)
    others_attached = any(each.status == "attached" for each in pair.attachments if each is not own)
    half_made = [each for each in (pair.attachments if own is None else (own,)) if each.status == "attaching"]
    unfinished = half_made[0] if len(half_made) == 1 and not others_attached else None
    state = pair.server_state.server
    stopped_or_active = state is not None and (state.is_stopped or state.can_be_stopped)
    server, volume_id = finding.server_id, finding.volume_id
    if volume is not None and volume.status == "error" and finding.attachment and finding.attachment.is_reserved:
        # Cinder recalculates the status when an attachment is deleted, so the error status is set again after that.
        yield f"openstack volume set --state available {volume_id}"
        yield f"dedangle cleanup {server} --execute"
        yield f"openstack volume set --state error {volume_id}"
        return
    match finding.code:
        case "transition-stuck" if unfinished:
            yield f"openstack --os-volume-api-version 3.44 volume attachment complete {unfinished.id}"
        case "transition-stuck" if own is None or any(each.status == "attached" for each in pair.attachments):
            # This rolls the detach back: the guest keeps its disk, and the user can detach the volume again.
            yield f"openstack volume set --state in-use {volume_id}"
        case "transition-stuck":
            # Nothing was connected, or the detach failed: Nova's own detach removes the rows on both sides.
            yield f"openstack volume set --state in-use --attached {volume_id}"
            yield f"openstack server remove volume {server} {volume_id}"
        case "volume-status-wrong":
            yield f"openstack volume set --state in-use --attached {volume_id}"
        case "work-never-ends":
            yield from _end_of_work(pair)
        case "mapping-without-connection" if state is not None and state.can_be_stopped:
            # Only a hard reboot reads the connection from Cinder.
            yield f"openstack server reboot --hard --wait {server}"
        case "volume-in-use-elsewhere":
            yield from (line.format(server=pair.server_without_right) for line in _STOP)
            yield f"dedangle cleanup {pair.server_without_right} --no-host --execute"
        case "migration-half-done" | "mapping-without-connection" if stopped_or_active and state is not None:
            host, runs = state.host, not state.is_stopped
            if runs:
                yield from (line.format(server=server) for line in _STOP)
            yield f"ssh {host} nova-manage volume_attachment get_connector --json > connector.json"
            yield f"nova-manage volume_attachment refresh {server} {volume_id} connector.json"
            if runs:
                yield f"openstack server start {server}"


def _end_of_work(pair: Pair) -> Iterator[str]:
    """Yield the command that ends the first of the operations that never end, if there is such a command."""
    state = pair.server_state
    work = next((marker for marker in state.markers if marker.since), None)
    match work.kind if work else "":
        case "event" if state.server is not None and state.server.can_be_stopped:
            # The reboot takes the instance lock, so it proves that the earlier operation no longer holds it.
            yield f"openstack server reboot --hard --wait {state.server_id}"
        case "task_state":
            yield f"openstack server set --state active {state.server_id}"
        case "volume" if work is not None:
            is_held = work.volume_id != pair.volume_id or bool(pair.mappings or pair.attachments)
            yield f"openstack volume set --state {'in-use' if is_held else 'available'} {work.volume_id}"
