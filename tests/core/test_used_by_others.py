# SPDX-License-Identifier: Apache-2.0
"""No command is printed that lets two servers write to one volume, or that ends a guest in a live migration."""

from __future__ import annotations

import dataclasses

import pytest

from core.worlds import (
    HOST,
    JUST_NOW,
    NO_STATE,
    OTHER_HOST,
    OTHER_SERVER,
    RUNNING,
    SERVER,
    SHUTDOWN,
    VOLUME,
    World,
    attachment,
    deleted,
    mapping,
    never_launched,
    server,
    volume,
    with_ways_out,
)
from dedangle.core.records import Marker

LOST = World(servers=(server(),), mappings=(mapping("A"),), volumes=(volume(),), thorough=True)
OF_OTHER = attachment("B", holder=OTHER_SERVER)
OTHER = dataclasses.replace(server(host=OTHER_HOST), id=OTHER_SERVER)
HELD = LOST.but(
    attachments=(OF_OTHER,),
    connected={"B": OTHER_HOST},
    other_servers=(OTHER,),
    other_servers_bdms=(dataclasses.replace(mapping("B"), server_id=OTHER_SERVER),),
)
GONE = dataclasses.replace(deleted(power_state=RUNNING, host=OTHER_HOST), id=OTHER_SERVER)


def lines(world: World) -> list[str]:
    return [line for each in with_ways_out(world) for line in each.next]


@pytest.mark.parametrize(
    "world",
    [
        HELD.but(servers=(never_launched(),), mappings=(mapping("A", has_connection_info=False),)),
        HELD.but(other_servers=(GONE,), other_servers_bdms=(), guests={HOST: (VOLUME,)}),
        # Glance, or another client that names no server.
        LOST.but(attachments=(attachment("B", holder=None),), connected={"B": OTHER_HOST}, guests={HOST: (VOLUME,)}),
    ],
)
def test_a_volume_that_somebody_else_holds_is_never_set_to_available(world: World) -> None:
    assert not any("--state available" in line for line in lines(world))


@pytest.mark.parametrize(
    "running",
    [
        {"servers": (server(task_state="migrating", updated_at=JUST_NOW),)},
        {"markers": (Marker(kind="migration", detail="live-migration running", since=JUST_NOW),)},
    ],
)
def test_no_guest_is_ended_while_the_server_migrates(running: dict[str, tuple[object]]) -> None:
    world = LOST.but(
        mappings=(mapping("B"),),
        attachments=(attachment("A"), attachment("B")),
        connected={"A": HOST, "B": OTHER_HOST},
        guests={HOST: (VOLUME,), OTHER_HOST: (VOLUME,)},
        **running,
    )
    assert not lines(world)
    assert (
        lines(world.but(servers=(server(),), markers=()))[0]
        == f"ssh {OTHER_HOST} virsh -c qemu:///system shutdown {SERVER}"
    )


@pytest.mark.parametrize(("vm_state", "power_state"), [("paused", 3), ("suspended", SHUTDOWN), ("rescued", RUNNING)])
def test_no_guest_goes_on_while_another_server_may_write_to_its_volume(vm_state: str, power_state: int) -> None:
    world = HELD.but(
        servers=(server(vm_state, power_state=power_state),),
        attachments=(attachment("A"), attachment("B", holder=OTHER_SERVER)),
        connected={"A": OTHER_HOST, "B": "host-3"},
    )
    assert not lines(world)
    assert any("which of the servers keeps the volume" in each.reason for each in with_ways_out(world))


@pytest.mark.parametrize("power_state", [NO_STATE, RUNNING, None])
def test_a_server_that_is_to_be_off_is_not_started_with_a_lost_attachment(power_state: int | None) -> None:
    world = LOST.but(servers=(server("stopped", power_state=power_state),), volumes=(volume("available"),))
    commands = lines(world)
    assert commands
    assert not any(word in line for line in commands for word in ("reboot", " start "))
