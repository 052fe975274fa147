# SPDX-License-Identifier: Apache-2.0
"""Join the readings of one server to pairs, one for each of its volumes."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from dedangle.core import work
from dedangle.core.observations import CinderView, NovaView, Observation
from dedangle.core.pair import Pair, ServerState
from dedangle.core.records import Attachment, BlockDeviceMapping, Existence, Reading, Server, Volume


def newest(moments: Iterable[datetime | None]) -> datetime | None:
    """Return the latest of the known moments."""
    return max((moment for moment in moments if moment), default=None)


def may_be_in_use(attachment: Attachment) -> bool:
    """Whether a guest may have the volume through the attachment; False if it was never connected."""
    return not attachment.is_reserved and attachment.status != "error_attaching"


def needed_of_cinder(
    nova: NovaView, attachments: Iterable[Attachment], *, thorough: bool = False
) -> tuple[frozenset[str], frozenset[str]]:
    """Return (volume ids, attachment ids) that must be read from Cinder, because mappings and attachments do not pair.

    Both are empty if Cinder has exactly the attachments that Nova names, all of them attached. With `thorough` every
    volume is read, because the volume of a consistent pair can have a wrong status.
    """
    found = {attachment.id: attachment for attachment in attachments}
    named = {mapping.attachment_id for mapping in nova.mappings}
    volumes = {each.volume_id for each in found.values() if each.id not in named or each.status != "attached"}
    lost = set()
    for mapping in nova.mappings:
        attachment = found.get(mapping.attachment_id or "")
        if attachment is None or attachment.volume_id != mapping.volume_id:
            volumes.add(mapping.volume_id)
            if mapping.attachment_id:
                lost.add(mapping.attachment_id)
    if thorough or _existence(nova) is not Existence.LIVE:
        volumes.update(each.volume_id for each in found.values())
    elif set(found) - named:
        # A volume swap creates the new attachment before its instance action. Until then the status of the old volume
        # is the only sign of the swap (nova/compute/api.py:swap_volume).
        volumes.update(mapping.volume_id for mapping in nova.mappings)
    return frozenset(volumes), frozenset(lost)


def in_doubt(nova: NovaView, attachments: Iterable[Attachment], volumes: Iterable[Volume]) -> frozenset[str]:
    """Return the ids of attachments that no mapping names and whose host Cinder does not show."""
    named = {mapping.attachment_id for mapping in nova.mappings}
    shown = {ident for volume in volumes for ident, _ in volume.hosts}
    return frozenset(
        each.id for each in attachments if each.id not in named and each.id not in shown and each.status == "attached"
    )


def names_other_hosts(nova: NovaView, cinder: CinderView) -> bool:
    """Whether an attachment is connected through another host than the server's."""
    own_hosts = {server.host for server in nova.servers}
    return any(host not in own_hosts for each in cinder.volumes.values() for row in each.rows for _, host in row.hosts)


def with_comparable_hosts(nova: NovaView, cinder: CinderView, compute_hosts: Reading[str]) -> CinderView:
    """Return the view without the hosts of attachments that are not compute hosts, so that they prove nothing.

    The connector of VMware names the address of vCenter, and that of other drivers may name any address. Such a host is
    neither the server's host nor another one.
    """
    if not compute_hosts.complete:
        return cinder
    known = {*compute_hosts.rows, *(server.host for server in nova.servers)}

    def comparable(volume: Volume) -> Volume:
        return dataclasses.replace(volume, hosts=tuple(each for each in volume.hosts if each[1] in known))

    volumes = {
        ident: dataclasses.replace(reading, rows=tuple(map(comparable, reading.rows)))
        for ident, reading in cinder.volumes.items()
    }
    return dataclasses.replace(cinder, volumes=volumes)


def hosts_concerned(nova: NovaView, cinder: CinderView) -> tuple[str, ...]:
    """Return the hosts that must report the server's guest: its own host, and the host of each of its attachments.

    They are in the order of their names, which is the order of the evidence.

    They are only asked if something does not pair: an attachment is lost, a row has no partner, a detach is not
    finished, an attachment is connected through another host than the server's, or the server is deleted.
    """
    named = {mapping.attachment_id for mapping in nova.mappings}
    attachments = cinder.attachments.rows
    lost = any(each.absent for each in cinder.named.values())
    gone = _existence(nova) is not Existence.LIVE and bool(attachments or nova.mappings)
    unlinked = any(mapping.attachment_id is None and not mapping.is_legacy for mapping in nova.mappings)
    volumes = [volume for reading in cinder.volumes.values() for volume in reading.rows]
    wrong_status = any(volume.status != "in-use" for volume in volumes)
    half_way = any(attachment.status not in ("attached", "reserved") for attachment in attachments)
    unnamed = any(attachment.id not in named for attachment in attachments)
    connected = [attachment for attachment in attachments if not attachment.is_reserved]
    hosts = {host for volume in volumes for each in connected if (host := volume.host_of(each.id))}
    own_hosts = {server.host for server in nova.servers if server.host}
    elsewhere = bool(own_hosts and hosts - own_hosts)
    if not (lost or gone or unlinked or unnamed or wrong_status or half_way or elsewhere):
        return ()
    return tuple(sorted(hosts | own_hosts))


def other_holders(
    server_id: str, cinder: CinderView, other_servers_bdms: Reading[BlockDeviceMapping]
) -> frozenset[str]:
    """Return the ids of the other servers with an attachment or a live mapping of one of the volumes."""
    attached = {each.server_id for reading in cinder.of_volumes.values() for each in reading.rows if each.server_id}
    mapped = {bdm.server_id for bdm in other_servers_bdms.rows if not bdm.deleted}
    return frozenset(attached | mapped) - {server_id}


def pairs(observation: Observation) -> tuple[Pair, ...]:
    """Return a pair for each volume that a live mapping or an attachment of the server names, by volume id."""
    cinder, nova = observation.cinder, observation.after
    the_server = server_state(observation)
    volume_ids = _volume_ids(observation)
    unasked: Reading[Volume] = Reading.unread("the volume was not read")
    result = []
    for volume_id in sorted(volume_ids):
        of_volume = cinder.of_volumes.get(volume_id, Reading[Attachment]())
        of_others = [bdm for bdm in observation.other_servers_bdms.rows if work.is_of(bdm, volume_id)]
        result.append(
            Pair(
                server_state=the_server,
                volume_id=volume_id,
                mappings=_by_id(mapping for mapping in nova.mappings if mapping.volume_id == volume_id),
                tombstones=_by_id(tombstone for tombstone in nova.tombstones if tombstone.volume_id == volume_id),
                attachments=tuple(
                    sorted(
                        (attachment for attachment in cinder.attachments.rows if attachment.volume_id == volume_id),
                        key=_id,
                    )
                ),
                volume=cinder.volumes.get(volume_id, unasked),
                others=Reading(
                    tuple(
                        sorted((each for each in of_volume.rows if each.server_id != observation.server_id), key=_id)
                    ),
                    of_volume.complete,
                    of_volume.why,
                ),
                other_servers_bdms=Reading(
                    tuple(each for each in of_others if not each.deleted),
                    observation.other_servers_bdms.complete,
                    observation.other_servers_bdms.why,
                ),
                other_servers=observation.other_servers,
                released=frozenset(each.attachment_id for each in of_others if each.deleted and each.attachment_id),
                named=cinder.named,
                watchers=observation.watchers.get(volume_id),
            )
        )
    return tuple(result)


def _volume_ids(observation: Observation) -> set[str]:
    mapped = {mapping.volume_id for mapping in observation.after.mappings}
    return mapped | {attachment.volume_id for attachment in observation.cinder.attachments.rows}


def _id(attachment: Attachment) -> str:
    return attachment.id


def _by_id(mappings: Iterable[BlockDeviceMapping]) -> tuple[BlockDeviceMapping, ...]:
    return tuple(sorted(mappings, key=lambda each: each.id))


def server_state(observation: Observation) -> ServerState:
    """Return the state of the whole server."""
    nova, cinder = observation.after, observation.cinder
    existence = _existence(nova)
    listed = {attachment.id: attachment.volume_id for attachment in cinder.attachments.rows}
    connected = {attachment.id for attachment in cinder.attachments.rows if may_be_in_use(attachment)}
    released = {tombstone.attachment_id for tombstone in nova.tombstones}
    mapped = {mapping.volume_id for mapping in nova.mappings}
    legacy = {mapping.volume_id for mapping in nova.mappings if mapping.is_legacy}
    named = Counter(mapping.attachment_id for mapping in nova.mappings if mapping.attachment_id)
    lost = frozenset(each for each in named if each not in listed and cinder.named.get(each, Reading.unread("")).absent)
    unmapped = frozenset(each for each, volume in listed.items() if each not in named and volume not in legacy)
    incomplete = [reading.why for reading in cinder.readings() if not reading.complete]
    return ServerState(
        server_id=observation.server_id,
        server=server_of(nova),
        existence=existence,
        host_state=nova.host_state,
        markers=work.markers(observation, existence),
        first_volume=min(_volume_ids(observation), default=None),
        unread=tuple(dict.fromkeys((*observation.before.unread, *nova.unread, *incomplete))),
        last_action_at=nova.last_action_at,
        lost=lost,
        unproved=frozenset(
            mapping.attachment_id
            for mapping in nova.mappings
            if mapping.attachment_id and listed.get(mapping.attachment_id) != mapping.volume_id
        ),
        unmapped=unmapped,
        unmapped_connected=frozenset(each for each in (unmapped & connected) - released if listed[each] not in mapped),
        mapped=frozenset(mapped),
        only_volume=_only_volume(nova.mappings),
        twice_named=frozenset(each for each, times in named.items() if times > 1),
        guests=observation.guests,
        askable_hosts=observation.askable_hosts,
        host_acts=observation.host_acts,
        cinder_is_behind=(*observation.cinder_is_behind, *_root_is_lost_too(nova, lost)),
        nova_is_behind=observation.nova_is_behind,
        is_journalled=observation.is_journalled,
        live_migration_failed_at=nova.live_migration_failed_at,
    )


def _root_is_lost_too(nova: NovaView, lost: frozenset[str]) -> tuple[str, ...]:
    """Return the fact that Cinder has also lost the attachment of the root disk, which nobody can detach."""
    server = server_of(nova)
    if len(lost) < 2 or server is None or not server.may_have_guest:
        return ()
    roots = [mapping for mapping in nova.mappings if mapping.attachment_id in lost and is_root_device(mapping, server)]
    return tuple(f"Cinder has also lost attachment {each.attachment_id} of the server's root disk" for each in roots)


def is_root_device(mapping: BlockDeviceMapping, server: Server | None) -> bool:
    """Whether the guest boots from the mapping's volume, by its boot index or its device name."""
    named = _device(mapping.device_name)
    return mapping.boot_index == 0 or (server is not None and named != "" and named == _device(server.root_device_name))


def _device(name: str | None) -> str:
    return (name or "").removeprefix("/dev/")


def _only_volume(mappings: tuple[BlockDeviceMapping, ...]) -> str | None:
    candidates = [mapping for mapping in mappings if mapping.is_connected] or mappings
    return candidates[0].volume_id if len(candidates) == 1 else None


def _existence(nova: NovaView) -> Existence:
    if any(not server.deleted for server in nova.servers):
        return Existence.LIVE
    if nova.building:
        return Existence.BUILDING
    # A hidden copy can be deleted without a record, so neither a missing nor a deleted copy proves anything.
    return Existence.DELETED if any(not server.hidden for server in nova.servers) else Existence.UNKNOWN


def server_of(nova: NovaView) -> Server | None:
    """Return the server with this id; a live one if there is any, None if Nova has no record of it."""
    ranked = sorted(nova.servers, key=lambda each: (each.deleted, each.hidden, each.cell))
    return ranked[0] if ranked else None
