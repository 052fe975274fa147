# SPDX-License-Identifier: Apache-2.0
"""The known ways to end a finding with `dedangle cleanup`, and the test whether one of them has an effect."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from dedangle.core import manual, planning
from dedangle.core.case import Policy
from dedangle.core.decisions import Door, Finding, Remedy, Verdict
from dedangle.core.deletions import with_server, with_status
from dedangle.core.doors import SETTLED_AFTER
from dedangle.core.manual import OFFLOAD, STOP, activate, before_second_guest, no_guest_on, set_status
from dedangle.core.pair import Pair
from dedangle.core.records import SHUTDOWN

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

    @property
    def needs_host(self) -> bool:
        """Whether nova-compute on the server's host must work for it."""
        return self.stops or self.fetches_connector or bool(self.allows.get("restart"))


# An option that has another effect than its own would change more than the finding needs.
_REMEDIES = {"reattach": Remedy.RESTORE_ATTACHMENT, "relink": Remedy.RELINK_MAPPING}
_OTHER_HOST = {"no_host": True, "names_volume": True}
_REATTACH = {"reattach": True}
_REATTACH_STOPPED = {"reattach": True, "restart": True}
ASSUME_DELETED = Way(" --assume-deleted", {"assume_deleted": True})
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
TO_REATTACH = tuple(way for way in WAYS if way.allows.get("reattach"))


def fitting(finding: Finding) -> Iterator[Way]:
    """Yield the ways that fit the finding: a volume in use is attached again, a detached volume is removed.

    A volume that cannot be removed, because another server uses it on the host, is attached again too.
    """
    is_in_use = finding.remedy is Remedy.RESTORE_ATTACHMENT
    may_be_in_use = is_in_use or finding.verdict is Verdict.PROTECTED or finding.code == "mapping-names-lost-attachment"
    away = [] if is_in_use else [way for way in WAYS if way not in TO_REATTACH]
    yield from WAYS if may_be_in_use and away else (*away, *TO_REATTACH)


def commands(
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
        before.append(set_status(volume, "available"))
        pair = with_status(pair, volume, "available")
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
    allowed = by_command(policy, connector_host=connector_host, **way.allows)
    later = now + max(policy.grace, policy.attach_timeout, SETTLED_AFTER)
    changes = planning.changes(simulate(pair, allowed, later))
    remedies = {remedy for option, remedy in _REMEDIES.items() if way.allows.get(option)}
    return [
        each
        for each in changes
        if each.identity.has_rows_of(finding.identity) and (not remedies or each.remedy in remedies)
    ]


def by_command(policy: Policy, connector_host: str | None = None, **allows: bool) -> Policy:
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
