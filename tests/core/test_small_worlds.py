# SPDX-License-Identifier: Apache-2.0
"""Every small world: judging answers in each of them, and no door removes what must never be removed."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import product
from typing import Any, NamedTuple

import pytest
from rules import MAY_GO, broken
from worlds import (
    HOST,
    NOW,
    OTHER_HOST,
    OTHER_SERVER,
    RUNNING,
    SECOND_VOLUME,
    World,
    attachment,
    deleted,
    judged,
    legacy,
    mapping,
    never_attached,
    never_launched,
    observation,
    offloaded,
    policy,
    server,
    stopped,
    tombstone,
    volume,
)

from dedangle.core import pairing, planning
from dedangle.core.decisions import Door
from dedangle.core.findings import TABLE
from dedangle.core.records import BlockDeviceMapping, HostState, Marker

UP, DOWN, GONE = {}, {"host_state": HostState.DOWN}, {"host_state": HostState.GONE}
SERVERS = {
    "running": {"servers": (server(),), **UP},
    "running, host down": {"servers": (server(),), **DOWN},
    "running, host gone": {"servers": (server(),), **GONE},
    "busy": {
        "servers": (server(task_state="rebooting"),),
        "markers": (Marker(kind="task_state", detail="rebooting"),),
    },
    "stopped": {"servers": (stopped(),), **UP},
    "stopped, host down": {"servers": (stopped(),), **DOWN},
    "stopped, host gone": {"servers": (stopped(),), **GONE},
    "stopped, powered on": {"servers": (server("stopped"),), **UP},
    "from volume": {"servers": (stopped(image_ref=None),), **UP},
    "offloaded": {"servers": (offloaded(),), **UP},
    "failed": {"servers": (never_launched(),), **UP},
    "deleted": {"servers": (deleted(),), **UP},
    "deleted, host down": {"servers": (deleted(),), **DOWN},
    "deleted, host gone": {"servers": (deleted(),), **GONE},
    "deleted copy": {"servers": (deleted(hidden=True),), **UP},
    "copy": {"servers": (server("resized"), server(cell="cell2", hidden=True)), **UP},
    "building": {"servers": (), "building": True},
    "unknown": {"servers": ()},
}
FEW_SERVERS = ("running", "stopped", "from volume", "offloaded", "deleted", "failed", "unknown")


def mappings(volume_id: str, own: str) -> dict[str, dict[str, tuple[BlockDeviceMapping, ...]]]:
    """Each kind of mapping that a server may have of the volume; own is the attachment that a linked one names."""
    return {
        "absent": {},
        "linked": {"mappings": (mapping(own, volume_id),)},
        "linked root": {"mappings": (mapping(own, volume_id, boot_index=0),)},
        "never attached": {"mappings": (never_attached(volume_id),)},
        "legacy": {"mappings": (legacy(volume_id),)},
        "tombstone": {"tombstones": (tombstone(own, volume_id),)},
        "names another's": {"mappings": (mapping("C", volume_id),)},
        "twice": {
            "mappings": (mapping(own, volume_id), mapping("X", volume_id, number=3 if volume_id == "volume-1" else 4))
        },
    }


Held = tuple[str, str | None]
"""An attachment's status, and the host it is connected through."""

OWN = (None, "attached", "reserved", "attaching", "error_attaching")
EXTRA = (None, ("attached", HOST), ("attached", OTHER_HOST), ("reserved", None))
OTHERS = (("attached", HOST), ("attached", OTHER_HOST), ("reserved", None))
VOLUMES = (
    volume("in-use"),
    volume("available"),
    volume("error"),
    volume("detaching"),
    volume("in-use", multiattach=True),
    volume("in-use", migration_status="migrating"),
    None,
)


def one_volume() -> Iterator[World]:
    """One volume, and every combination of what Nova and Cinder may hold of it for the server."""
    for one, kind, own, extra, vol in product(
        SERVERS.values(), mappings("volume-1", "A").values(), OWN, EXTRA, (*VOLUMES[:4], None)
    ):
        yield of_one_volume(one, kind, own, extra, None, vol)


def lost_hosts() -> Iterator[World]:
    """One volume of a server whose host has been down for two days."""
    servers = (server(), stopped(), stopped(image_ref=None), deleted(), deleted(power_state=RUNNING))
    for one, kind, own, extra, vol in product(servers, mappings("volume-1", "A").values(), OWN, EXTRA, VOLUMES[:4]):
        lost = {"servers": (one,), **DOWN, "host_down_since": NOW - timedelta(days=2)}
        yield of_one_volume(lost, kind, own, extra, None, vol)


def shared_volume() -> Iterator[World]:
    """The same, while another server holds the volume too."""
    for name, kind, own, extra, other, vol in product(
        FEW_SERVERS[:-2], mappings("volume-1", "A").values(), OWN[:3], EXTRA, OTHERS, VOLUMES
    ):
        yield of_one_volume(SERVERS[name], kind, own, extra, other, vol)


def of_one_volume(
    one: dict[str, Any], kind: dict[str, Any], own: str | None, extra: Held | None, other: Held | None, vol: Any
) -> World:
    rows = [attachment("A", own)] if own else []
    rows += [attachment("B", extra[0])] if extra else []
    rows += [attachment("C", other[0], holder=OTHER_SERVER)] if other else []
    hosts = {"A": HOST, "B": extra[1] if extra else None, "C": other[1] if other else None}
    return World(
        **{**one, **kind},
        attachments=tuple(rows),
        volumes=(vol,) if vol else (),
        connected={ident: host for ident, host in hosts.items() if host},
    )


def two_volumes() -> Iterator[World]:
    """Two volumes, each whole or broken in its own way: what is wrong with one must not hide behind the other."""
    firsts, seconds = mappings("volume-1", "A"), mappings(SECOND_VOLUME, "A2")
    for name, first, second, own, own2, extra2 in product(
        FEW_SERVERS, firsts.values(), seconds.values(), OWN[:2], OWN[:3], (None, "attached", "reserved")
    ):
        rows = [attachment("A", own)] if own else []
        rows += [attachment("A2", own2, SECOND_VOLUME)] if own2 else []
        rows += [attachment("B2", extra2, SECOND_VOLUME)] if extra2 else []
        nova = {key: (*first.get(key, ()), *second.get(key, ())) for key in ("mappings", "tombstones")}
        yield World(
            **SERVERS[name],
            **nova,
            attachments=tuple(rows),
            volumes=(volume("in-use"), volume("in-use", SECOND_VOLUME)),
            connected={"A": HOST, "A2": HOST},
        )


GUESTS: tuple[dict[str, tuple[str, ...]], ...] = (
    {},
    {HOST: ()},
    {HOST: ("volume-1",)},
    {HOST: ("volume-9",)},
    {OTHER_HOST: ()},
    {HOST: (), OTHER_HOST: ()},
    {HOST: ("volume-1",), OTHER_HOST: ()},
    {HOST: (), OTHER_HOST: ("volume-1",)},
)


def with_guests() -> Iterator[World]:
    """One volume again, with what the hosts say of the guest's disks."""
    for name, kind, own, extra, guests, acts in product(
        FEW_SERVERS, mappings("volume-1", "A").values(), OWN, EXTRA, GUESTS, (True, False)
    ):
        world = of_one_volume(SERVERS[name], kind, own, extra, None, volume("in-use" if own else "available"))
        yield world.but(guests=guests, host_acts=acts)


def half_read() -> Iterator[World]:
    """Each of the systems silent in turn, and each marker of work that goes on."""
    disturbances: list[dict[str, Any]] = [
        {"silent": frozenset({who})}
        for who in ("nova", "list", "volume", "of-volume", "attachment", "other_servers_bdms")
    ]
    disturbances += [
        {"markers": (Marker(kind=kind, detail="goes on"),)} for kind in ("migration", "event", "action", "lock")
    ]
    for name, kind, own, extra, disturbance in product(
        FEW_SERVERS, mappings("volume-1", "A").values(), OWN[:3], EXTRA, disturbances
    ):
        rows = [attachment("A", own)] if own else []
        rows += [attachment("B", extra[0])] if extra else []
        world = World(**{**SERVERS[name], **kind}, attachments=tuple(rows), volumes=(volume(),))
        silent = disturbance.get("silent", frozenset())
        if silent and _unasked(world, next(iter(silent))):
            continue
        yield world.but(**disturbance)


def _unasked(world: World, who: str) -> bool:
    """Whether the silent system would not have been asked at all."""
    cinder = observation(world).cinder
    asked = {
        "volume": cinder.volumes,
        "of-volume": cinder.of_volumes,
        "attachment": cinder.named,
        "other_servers_bdms": cinder.volumes,
    }
    return not asked.get(who, True)


POLICIES = (
    policy(Door.REBOOT),
    policy(Door.COMMAND),
    policy(Door.COMMAND, no_host=True),
    policy(Door.COMMAND, no_host=True, allow_root=True),
    policy(Door.SWEEP),
)
FAMILIES = {
    one_volume: 14_000,
    shared_volume: 10_000,
    two_volumes: 8_000,
    with_guests: 17_000,
    half_read: 5_000,
    lost_hosts: 2_500,
}


class Trial(NamedTuple):
    """What every door would do in all worlds of a family."""

    worlds: int
    breaches: tuple[tuple[object, ...], ...]
    removals: frozenset[tuple[str, Door]]
    """Each finding's code that some door would act on, and the door."""


# Both tests look at the same worlds.
@functools.cache
def trial(family: Callable[[], Iterator[World]]) -> Trial:
    tried, breaches, removals = 0, [], set()
    for world in family():
        tried += 1
        pairs = pairing.pairs(observation(world))
        for each in POLICIES:
            plan = planning.changes(judged(pairs, each))
            removals |= {(finding.code, each.door) for finding in plan}
            rows = Counter((finding.remedy, finding.bdm_uuid or finding.attachment_id) for finding in plan)
            if any(times > 1 for times in rows.values()):
                breaches.append((each, world, "writes twice"))
            breaches += [(each, world, name) for finding in plan for name in broken(world, each, finding)]
    return Trial(tried, tuple(breaches), frozenset(removals))


@pytest.mark.parametrize(("family", "at_least"), FAMILIES.items(), ids=[each.__name__ for each in FAMILIES])
def test_no_door_breaks_a_rule_in_any_small_world(family: Callable[[], Iterator[World]], at_least: int) -> None:
    tried = trial(family)
    assert not tried.breaches[:3]
    assert tried.worlds > at_least


def test_the_small_worlds_hold_every_removal_at_every_door_that_may_do_it() -> None:
    expected = {
        (kind.code, door) for kind in TABLE for door in Door if kind.code in MAY_GO and kind.needs(door) != "never"
    }
    done = frozenset().union(*(trial(family).removals for family in (one_volume, two_volumes, with_guests)))
    assert expected == done
