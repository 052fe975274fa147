# SPDX-License-Identifier: Apache-2.0
"""The deletion of the attachments that keep a volume from its way out, while no guest of the server can use them."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from dedangle.core.manual import STOP, activate, delete, no_guest_on, set_status
from dedangle.core.pair import Pair
from dedangle.core.pairing import may_be_in_use
from dedangle.core.records import SHUTDOWN, SOFT_DELETED, Attachment, Disk, Reading, Server, Volume
from dedangle.core.sharing import is_named_by_other_server, may_share_host


class Deletion(NamedTuple):
    """Commands that delete attachments, and the pair that they leave."""

    commands: tuple[str, ...]
    left: Pair
    stops: bool = False
    """Whether the commands stop the server."""


def of_unnamed(pair: Pair) -> Deletion | None:
    """Return the deletion of the attachments of the volume that no mapping names.

    Returns None if there are none, if somebody else may use one, or if the server may have swapped to another volume.
    The server is off meanwhile, and libvirt on every other host must have no guest of it.
    """
    state, volume = pair.server_state, next(iter(pair.volume.rows), None)
    server = state.server
    if server is None or volume is None or not pair.mappings or any(each.is_legacy for each in pair.mappings):
        return None
    if server.deleted or state.nova_is_behind or not pair.other_servers_bdms.complete or _is_busy(pair, volume):
        return None
    ids = {mapping.attachment_id for mapping in pair.mappings}
    named = [each for each in pair.attachments if each.id in ids]
    doomed = [each for each in pair.attachments if each.id not in ids]
    if len(pair.mappings) == 1 and named:
        (own,) = named
        if _is_useless(own, server):
            doomed, named = [*doomed, own], []
        elif own.status == "attached":
            return None
    may_be_swapped = bool(state.lost.intersection(ids) and state.unmapped_connected)
    if not doomed or may_be_swapped or any(_is_of_others(pair, volume, each, named) for each in doomed):
        return None
    if state.hosts_with_unexpected_guest(pair.volume_id):
        # It must be shut down first.
        return None
    stops = not (server.is_stopped or server.is_without_host)
    to_active = activate(server.vm_state)
    if stops and not (server.host and (to_active or server.vm_state in ("active", "error")) and not server.task_state):
        return None
    before = (*to_active, *STOP) if stops else ()
    commands = [*before, *(_checked(pair, volume, each) for each in doomed)]
    left = without(pair, doomed, stops)
    if left.volume.rows[0].status == "attaching":
        # An attach seems to be in progress then, although it stopped half-way.
        commands.append(set_status(volume, "in-use"))
        left = with_status(left, left.volume.rows[0], "in-use")
    return Deletion(tuple(line.format(server=server.id) for line in commands), left, stops)


def _is_useless(own: Attachment, server: Server) -> bool:
    """Whether Nova itself never connects the attachment of a server that has no guest, so that a new one is needed."""
    if server.is_without_host:
        # Its connection failed, or was for a guest that the server does not have. An unshelve needs a reservation.
        return own.status not in ("attached", "reserved")
    # Nova refuses to refresh it, and a restore starts the guest with the connection that the mapping has.
    return server.vm_state == SOFT_DELETED and server.is_stopped and own.status != "attached"


def _is_busy(pair: Pair, volume: Volume) -> bool:
    """Whether anything but an attach or detach that stopped half-way is in progress; Cinder ends that one's status."""
    half_way = volume.status in ("attaching", "detaching")
    return any(not half_way or each.kind != "volume" or each.volume_id != volume.id for each in pair.open_work)


def _is_of_others(pair: Pair, volume: Volume, attachment: Attachment, named: list[Attachment]) -> bool:
    """Whether another mapping, server or unknown host may use the attachment, or share its connection."""
    ids = {mapping.attachment_id for mapping in pair.mappings}
    if attachment.id not in ids and attachment.id not in pair.server_state.unmapped:
        return True
    if is_named_by_other_server(pair, attachment):
        return True
    if not may_be_in_use(attachment) or attachment.is_unconnected:
        return False
    host = volume.host_of(attachment.id)
    if host is None and attachment.status == "attached":
        return True
    return may_share_host(pair, volume, host, attachment, [each for each in named if each.status == "attached"])


def _checked(pair: Pair, volume: Volume, attachment: Attachment) -> str:
    """Return the deletion, after a check of the attachment's host if the server is not on it.

    If Cinder does not show its host, all the other hosts that have the volume connected are checked.
    """
    state, host = pair.server_state, volume.host_of(attachment.id)
    own_host = state.server.host if state.server else None
    shown = {volume.host_of(each.id) for each in pair.attachments} if may_be_in_use(attachment) else set()
    hosts = ({host} if host else shown) - {own_host, None}
    silent = sorted(each for each in hosts if each and not state.guest_lacks(pair.volume_id, {each}))
    return "".join(f"{no_guest_on(each, state.server_id)} && " for each in silent) + delete(attachment.id)


def without(pair: Pair, deleted: list[Attachment], stops: bool) -> Pair:
    """Return the pair as it is when the attachments are deleted, and the server is stopped if `stops` is true."""
    ids = {each.id for each in deleted}
    lost = ids & {mapping.attachment_id for mapping in pair.mappings}
    kept = tuple(each for each in pair.attachments if each.id not in ids)
    state = dataclasses.replace(
        pair.server_state,
        lost=pair.server_state.lost | lost,
        unproved=pair.server_state.unproved | lost,
        unmapped=pair.server_state.unmapped - ids,
        markers=tuple(each for each in pair.server_state.markers if each.volume_id != pair.volume_id),
    )
    status = _recalculated((*kept, *pair.others.rows))
    volumes = tuple(
        dataclasses.replace(volume, status=status, hosts=tuple(each for each in volume.hosts if each[0] not in ids))
        for volume in pair.volume.rows
    )
    left = dataclasses.replace(pair, attachments=kept, volume=Reading(volumes), server_state=state)
    server = state.server
    if not stops or server is None:
        return left
    return with_server(left, dataclasses.replace(server, vm_state="stopped", power_state=SHUTDOWN))


def _recalculated(attachments: tuple[Attachment, ...]) -> str:
    """Return the status that Cinder gives to a volume with these attachments (cinder/db/sqlalchemy/api.py)."""
    statuses = {each.status for each in attachments}
    order = {"attached": "in-use", "attaching": "attaching", "reserved": "reserved"}
    return next((status for each, status in order.items() if each in statuses), "available")


def with_status(pair: Pair, volume: Volume, status: str) -> Pair:
    """Return the pair as it is when somebody has set the volume's status, so that no work on it is open."""
    state = pair.server_state
    markers = tuple(each for each in state.markers if each.kind != "volume" or each.volume_id != volume.id)
    return dataclasses.replace(
        pair,
        volume=Reading((dataclasses.replace(volume, status=status, migration_status=None),)),
        server_state=dataclasses.replace(state, markers=markers),
    )


def with_server(pair: Pair, server: Server | None) -> Pair:
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
