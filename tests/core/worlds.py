# SPDX-License-Identifier: Apache-2.0
"""Small worlds as plain values: what Nova and Cinder hold, and what dedangle would read, say and remove of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from collections.abc import Mapping as MappingType
from datetime import datetime, timedelta, timezone
from typing import Any

from dedangle.core import exits, pairing, planning
from dedangle.core.case import Policy
from dedangle.core.decisions import Disposition, Door, Finding, FindingKey
from dedangle.core.judging import judge
from dedangle.core.observations import CinderView, NovaView, Observation
from dedangle.core.pair import Pair
from dedangle.core.records import Attachment, BlockDeviceMapping, Disk, HostState, Marker, Reading, Server, Volume

NOW = datetime(2026, 8, 1, 12, 0, tzinfo=timezone.utc)
LONG_AGO = NOW - timedelta(days=30)
JUST_NOW = NOW - timedelta(seconds=60)

SERVER, OTHER_SERVER = "server-1", "server-2"
VOLUME, SECOND_VOLUME = "volume-1", "volume-2"
HOST, OTHER_HOST = "host-1", "host-2"

RUNNING, SHUTDOWN, NO_STATE = 1, 4, 0
"""Nova's power states."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class World:
    """All that is true of one server, and of what stands around it."""

    servers: tuple[Server, ...] = ()
    mappings: tuple[BlockDeviceMapping, ...] = ()
    tombstones: tuple[BlockDeviceMapping, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    """Every live row of Cinder, of any server."""
    volumes: tuple[Volume, ...] = ()
    connected: MappingType[str, str] = dataclasses.field(default_factory=dict)
    """Attachment id -> host through which it is connected, where Cinder would tell it."""
    host_state: HostState = HostState.UP
    host_down_since: datetime | None = None
    building: bool = False
    requested_at: datetime | None = None
    markers: tuple[Marker, ...] = ()
    last_action_at: datetime | None = LONG_AGO
    other_servers_bdms: tuple[BlockDeviceMapping, ...] = ()
    """Mappings that other servers have."""
    other_servers: tuple[Server, ...] = ()
    guests: MappingType[str, tuple[str | Disk, ...]] = dataclasses.field(default_factory=dict)
    """Host that can be asked -> the volumes that the server's guest has there, running, or whole disks."""
    silent_hosts: frozenset[str] = frozenset()
    """Hosts that run dedangle and do not answer."""
    cinder_is_behind: tuple[str, ...] = ()
    nova_is_behind: tuple[str, ...] = ()
    is_journalled: bool = False
    live_migration_failed_at: datetime | None = None
    thorough: bool = False
    """Whether every volume is asked for, as the command and the sweep do."""
    watchers: MappingType[str, Reading[str]] = dataclasses.field(default_factory=dict)
    """By volume: the Ceph clients that have its image open."""
    host_acts: bool = False
    """Whether the server's host carries removals out itself."""
    compute_hosts: frozenset[str] | None = None
    """The hosts that have or had a nova-compute; None if nobody asked."""
    silent: frozenset[str] = frozenset()
    """Who does not answer: nova, list, volume, of-volume, attachment, other_servers_bdms."""

    def but(self, **changes: Any) -> World:
        return dataclasses.replace(self, **changes)


def server(vm_state: str | None = "active", **fields: Any) -> Server:
    given = {
        "cell": "cell1",
        "project_id": "project-1",
        "host": HOST,
        "power_state": RUNNING,
        "image_ref": "image-1",
        "root_device_name": "/dev/vda",
        "launched_at": LONG_AGO,
        **fields,
    }
    return Server(id=SERVER, vm_state=vm_state, **given)


def stopped(**fields: Any) -> Server:
    return server("stopped", power_state=SHUTDOWN, **fields)


def offloaded(**fields: Any) -> Server:
    return server("shelved_offloaded", **{"host": None, "power_state": SHUTDOWN, **fields})


def never_launched(**fields: Any) -> Server:
    """A server that no host took: ERROR, in cell0 or after its last try."""
    return server("error", host=None, power_state=NO_STATE, launched_at=None, cell="cell0", **fields)


def deleted(**fields: Any) -> Server:
    return server("deleted", **{"power_state": NO_STATE, "deleted": True, "deleted_at": LONG_AGO, **fields})


def mapping(attachment_id: str | None, volume: str = VOLUME, **fields: Any) -> BlockDeviceMapping:
    """A mapping whose disk was connected once; never_attached and legacy are the others."""
    number = fields.pop("number", 1 if volume == VOLUME else 2)
    given = {
        "cell": "cell1",
        "has_connection_info": True,
        "source_type": "volume",
        "device_name": f"/dev/vd{'abcdefgh'[number % 8]}",
        "created_at": LONG_AGO,
        "version": "2026-07-01 00:00:00",
        **fields,
    }
    return BlockDeviceMapping(
        id=number, uuid=f"bdm-{number}", server_id=SERVER, volume_id=volume, attachment_id=attachment_id, **given
    )


def never_attached(volume: str = VOLUME, **fields: Any) -> BlockDeviceMapping:
    return mapping(None, volume, **{"has_connection_info": False, "version": None, **fields})


def legacy(volume: str = VOLUME, **fields: Any) -> BlockDeviceMapping:
    return mapping(None, volume, **fields)


def tombstone(attachment_id: str, volume: str = VOLUME, **fields: Any) -> BlockDeviceMapping:
    return mapping(attachment_id, volume, **{"number": 7, "deleted": True, **fields})


def attachment(ident: str, status: str = "attached", volume: str = VOLUME, holder: str | None = SERVER) -> Attachment:
    return Attachment(id=ident, server_id=holder, volume_id=volume, status=status)


def volume(status: str = "in-use", ident: str = VOLUME, **fields: Any) -> Volume:
    return Volume(id=ident, status=status, project_id="project-1", **fields)


def observation(world: World, server_id: str = SERVER) -> Observation:
    """What the doors would read: of Cinder only what the pairing needs."""
    nova = NovaView(
        server_id=server_id,
        servers=world.servers,
        mappings=world.mappings,
        tombstones=world.tombstones,
        building=world.building,
        requested_at=world.requested_at,
        markers=world.markers,
        host_down_since=world.host_down_since,
        host_state=world.host_state if any(each.host for each in world.servers) else HostState.NONE,
        last_action_at=world.last_action_at,
        live_migration_failed_at=world.live_migration_failed_at,
        unread=("cell2 did not answer",) if "nova" in world.silent else (),
    )
    own = tuple(each for each in world.attachments if each.server_id == server_id)
    if "list" in world.silent:
        return Observation(
            server_id=server_id, before=nova, cinder=CinderView(attachments=Reading.unread("no list")), after=nova
        )
    volume_ids, attachment_ids = pairing.needed_of_cinder(nova, own, thorough=world.thorough)

    def read(kind: str, rows: tuple[Any, ...]) -> Reading[Any]:
        return Reading.unread(f"{kind} did not answer") if kind in world.silent else Reading(rows)

    cinder = CinderView(
        attachments=Reading(own),
        volumes={each: read("volume", _shown(world, each)) for each in volume_ids},
        of_volumes={
            ident: read("of-volume", tuple(each for each in world.attachments if each.volume_id == ident))
            for ident in volume_ids
        },
        named={
            ident: read("attachment", tuple(each for each in world.attachments if each.id == ident))
            for ident in attachment_ids
        },
    )
    if world.compute_hosts is not None:
        cinder = pairing.with_comparable_hosts(nova, cinder, Reading(tuple(world.compute_hosts)))
    guests = {
        host: Reading(disks(world, host)) if host in world.guests else Reading[Disk].unread(f"{host} cannot be asked")
        for host in pairing.hosts_concerned(nova, cinder)
    }
    other_servers_bdms = Reading[BlockDeviceMapping]()
    if volume_ids:
        # As MySQL, for which capitals are the same.
        other_servers_bdms = read(
            "other_servers_bdms",
            tuple(each for each in world.other_servers_bdms if each.volume_id.lower() in volume_ids),
        )
    return Observation(
        server_id=server_id,
        before=nova,
        cinder=cinder,
        after=nova,
        other_servers_bdms=other_servers_bdms,
        guests=guests,
        other_servers=Reading(world.other_servers),
        askable_hosts=frozenset(each for each in guests if each in world.guests or each in world.silent_hosts),
        watchers=world.watchers,
        host_acts=world.host_acts,
        cinder_is_behind=world.cinder_is_behind,
        nova_is_behind=world.nova_is_behind,
        is_journalled=world.is_journalled,
    )


def disks(world: World, host: str) -> tuple[Disk, ...]:
    """The disks of the guest on the host; one that is given as a volume id runs, and its mapping explains it."""
    mapped = {each.volume_id for each in (*world.mappings, *world.tombstones)}
    return tuple(
        each
        if isinstance(each, Disk)
        else Disk(volume_id=each, source=f"/dev/{each}", is_running=True, is_recognised=each in mapped)
        for each in world.guests[host]
    )


def _shown(world: World, volume_id: str) -> tuple[Volume, ...]:
    # Cinder shows hosts in a volume's view only, and only of what is attached.
    hosts = tuple(
        (each.id, world.connected[each.id])
        for each in world.attachments
        if each.volume_id == volume_id and each.status == "attached" and each.id in world.connected
    )
    return tuple(dataclasses.replace(each, hosts=hosts) for each in world.volumes if each.id == volume_id)


def policy(door: Door, **fields: Any) -> Policy:
    """What each door brings: the reboot a guest it can power off, the sweep its grace period."""
    given = {"grace": timedelta() if door is Door.REBOOT else timedelta(hours=1), "guest_off": door is Door.REBOOT}
    return Policy(door=door, **{**given, **fields})


def seen_long_ago(key: FindingKey) -> datetime | None:
    """Every finding was seen long ago as what it is now, and none as a volume that Cinder forgot."""
    return None if key.code == "attachment-lost-in-use" else LONG_AGO


def findings(
    world: World,
    *,
    door: Door = Door.SWEEP,
    now: datetime = NOW,
    policy: Policy | None = None,
    first_seen: Callable[[FindingKey], datetime | None] = seen_long_ago,
) -> tuple[Finding, ...]:
    return judged(pairing.pairs(observation(world)), policy or _policy(door), now=now, first_seen=first_seen)


def judged(
    pairs: Iterable[Pair],
    policy: Policy,
    *,
    now: datetime = NOW,
    first_seen: Callable[[FindingKey], datetime | None] = seen_long_ago,
) -> tuple[Finding, ...]:
    return tuple(finding for pair in pairs for finding in judge(pair, now=now, policy=policy, first_seen=first_seen))


def with_ways_out(world: World, policy: Policy | None = None) -> tuple[Finding, ...]:
    """The findings of a sweep, each with its commands."""

    def one(pair: Pair, policy: Policy, now: datetime) -> tuple[Finding, ...]:
        return judge(pair, now=now, policy=policy, first_seen=seen_long_ago)

    return exits.judge_with_ways_out(pairing.pairs(observation(world)), policy or _policy(Door.SWEEP), NOW, one)


def removals(world: World, **how: Any) -> tuple[Finding, ...]:
    return tuple(each for each in changes(world, **how) if each.disposition is Disposition.REMOVE)


def repairs(world: World, **how: Any) -> tuple[Finding, ...]:
    return tuple(each for each in changes(world, **how) if each.disposition is not Disposition.REMOVE)


def changes(world: World, **how: Any) -> tuple[Finding, ...]:
    return planning.changes(findings(world, **how))


_policy = policy
