# SPDX-License-Identifier: Apache-2.0
"""The commands of every small world, typed blindly: no guest loses a disk, none gets a second one, and they end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import pytest

from core.follower import Cloud, LostError
from core.test_dead_ends import FAMILIES
from core.worlds import (
    HOST,
    OTHER_HOST,
    OTHER_SERVER,
    SERVER,
    VOLUME,
    World,
    attachment,
    mapping,
    server,
    volume,
    with_ways_out,
)
from dedangle.core.findings import KINDS

ROUNDS = 6
# A prime, so that a part of the worlds has every value of each dimension.
STEP = 67


def truths(world: World) -> Iterator[dict[str, set[str]]]:
    """Every place where the server's guest may run, with and without the volumes, if no host reports it."""
    volumes = {each.volume_id for each in (*world.mappings, *world.attachments)}
    own_rows = [each.id for each in world.attachments if each.server_id == SERVER and each.status == "attached"]
    asked = {*(each.host for each in world.servers), *(world.connected.get(each) for each in own_rows)}
    known = {host: {str(each) for each in disks} for host, disks in world.guests.items() if disks and host in asked}
    (one,) = world.servers
    runs, own = one.may_have_guest or one.may_still_run, one.host or ""
    if known or own in world.guests:
        yield known if not runs or own in known else {**known, own: set()}
        return
    yield {own: volumes} if runs else {}
    if runs:
        yield {own: set()}
    elsewhere = {each for each in own_rows if world.connected.get(each) == OTHER_HOST}
    left = {each.volume_id for each in world.attachments if each.id in elsewhere}
    if left and OTHER_HOST not in world.guests:
        # Cinder shows that the guest may run there.
        yield {OTHER_HOST: left}


def follow(world: World, guests: dict[str, set[str]]) -> None:
    """Type the first commands of the world until there are none.

    A command that changes nothing fails, and a finding that is left without a command, a question or a wait.
    """
    cloud = Cloud(world.but(thorough=True), guests)
    for _ in range(ROUNDS):
        found = [each for each in with_ways_out(cloud.world) if each.code in KINDS]
        ways = [each.next for each in found if each.next and each.disposition != "wait"]
        if not ways:
            assert all(" Decide " in each.reason or each.disposition == "wait" for each in found), (found, cloud.world)
            return
        if any(OTHER_SERVER in line for line in ways[0]):
            return
        before = cloud.world
        is_refused = cloud.type(ways[0]) > 0
        if is_refused and guests.get(OTHER_HOST):
            # The check of the other host has found the guest there: somebody must look at it.
            return
        assert not is_refused, ("refused", ways[0], cloud.world)
        assert cloud.world != before, ("loop", ways[0], cloud.world)
    assert not ways, (ways[0], cloud.world)


def check(worlds: Iterator[World]) -> int:
    """Follow the commands of each world; return how many were followed."""
    followed = 0
    for world in worlds:
        if not world.servers or len(world.servers) > 1 or world.markers:
            continue
        for guests in truths(world):
            follow(world, guests)
            followed += 1
    return followed


@pytest.mark.parametrize("family", FAMILIES, ids=[each.__name__ for each in FAMILIES])
def test_a_part_of_the_small_worlds_is_followed_to_its_end(family: Callable[[], Iterator[World]]) -> None:
    assert check(islice(family(), None, None, STEP)) > 50


@pytest.mark.thorough
@pytest.mark.parametrize("family", FAMILIES, ids=[each.__name__ for each in FAMILIES])
def test_every_small_world_is_followed_to_its_end(family: Callable[[], Iterator[World]]) -> None:
    assert check(islice(family(), None, None, 5)) > 1_000


@pytest.mark.parametrize("host", [HOST, OTHER_HOST])
@pytest.mark.parametrize("boot_index", [None, 0])
@pytest.mark.parametrize("disks", [{VOLUME}, set()])
def test_a_server_without_right_to_a_volume_is_stopped_and_loses_its_mapping(
    host: str, boot_index: int | None, disks: set[str]
) -> None:
    world = World(
        servers=(server(),),
        mappings=(mapping("A", boot_index=boot_index),),
        attachments=(attachment("C", holder=OTHER_SERVER),),
        volumes=(volume(),),
        connected={"C": host},
        thorough=True,
    )
    cloud = Cloud(world, {HOST: disks})
    (found,) = with_ways_out(world)
    assert found.code == "volume-in-use-elsewhere"
    assert cloud.type(found.next) == 0
    assert cloud.world.mappings == ()
    assert [each.id for each in cloud.world.attachments] == ["C"]


@pytest.mark.parametrize(
    ("command", "host"),
    [
        ("openstack --os-volume-api-version 3.27 volume attachment delete A", HOST),
        (f"openstack server reboot --hard --wait {SERVER}", OTHER_HOST),
    ],
)
def test_the_model_finds_a_command_that_harms(command: str, host: str) -> None:
    world = World(servers=(server(),), attachments=(attachment("A"),), volumes=(volume(),), connected={"A": HOST})
    with pytest.raises(LostError):
        Cloud(world, {host: {VOLUME}}).type((command,))
