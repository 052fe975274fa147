# SPDX-License-Identifier: Apache-2.0
"""An attachment that is connected through another host than its server's goes once both hosts can disconnect it."""

from __future__ import annotations

import pytest

from core.worlds import (
    HOST,
    OTHER_HOST,
    SERVER,
    VOLUME,
    World,
    attachment,
    findings,
    mapping,
    policy,
    removals,
    server,
    stopped,
    tombstone,
    volume,
    with_ways_out,
)
from dedangle.core.case import Policy
from dedangle.core.decisions import Disposition, Door
from dedangle.core.records import Disk

LEFT = World(
    servers=(server(),),
    mappings=(mapping("A"),),
    attachments=(attachment("A"), attachment("B")),
    volumes=(volume(),),
    connected={"A": HOST, "B": OTHER_HOST},
)
RELEASED = World(
    servers=(stopped(),),
    tombstones=(tombstone("B"),),
    attachments=(attachment("B"),),
    volumes=(volume(),),
    connected={"B": OTHER_HOST},
)
COMMAND = policy(Door.COMMAND)
NO_HOST = policy(Door.COMMAND, no_host=True, names_volume=True)
AT_HOST = policy(Door.COMMAND, at_host=True)
UNRECOGNISED = Disk(volume_id="volume-3", source="/dev/x", is_running=True, is_recognised=False)


def removed(world: World, allowed: Policy) -> list[str | None]:
    return [each.attachment_id for each in removals(world, policy=allowed)]


@pytest.mark.parametrize("world", [LEFT, RELEASED], ids=["left", "released"])
def test_both_hosts_must_act(world: World) -> None:
    proved = world.but(guests={OTHER_HOST: ()})
    assert removed(proved.but(host_acts=True), COMMAND) == ["B"]
    assert removed(proved, AT_HOST) == ["B"]
    assert removed(proved, NO_HOST) == ["B"]
    (alone,) = [each for each in findings(proved, policy=COMMAND) if each.attachment_id == "B"]
    assert (alone.disposition, alone.held_on) == (Disposition.REPORT, OTHER_HOST)
    assert f"host {HOST} does not run dedangle" in alone.reason

    silent = world.but(host_acts=True)
    assert removed(silent, COMMAND) == removed(silent, AT_HOST) == []
    assert removed(silent, policy(Door.REBOOT, at_host=True)) == []
    assert removed(silent, NO_HOST) == ["B"]


def test_an_operator_vouches_only_for_a_host_that_the_server_has_left_and_that_does_not_answer() -> None:
    assert removed(LEFT, policy(Door.SWEEP, no_host=True, names_volume=True)) == []
    assert removed(LEFT, policy(Door.COMMAND, no_host=True)) == []
    assert removed(LEFT.but(guests={OTHER_HOST: (VOLUME,)}), NO_HOST) == []
    assert removed(LEFT.but(guests={OTHER_HOST: (UNRECOGNISED,)}), NO_HOST) == []
    unknown = LEFT.but(mappings=(), attachments=(attachment("B"),))
    assert removed(unknown, NO_HOST) == []


@pytest.mark.parametrize(
    ("world", "before"),
    [(LEFT, ""), (RELEASED, ""), (RELEASED.but(servers=(server(),)), " --restart")],
    ids=["left", "released", "running"],
)
def test_the_way_out_asks_the_silent_host_first(world: World, before: str) -> None:
    (found,) = [each for each in with_ways_out(world.but(thorough=True)) if each.attachment_id == "B"]
    check = f"ssh {OTHER_HOST} 'virsh -c qemu:///system list && ! virsh -c qemu:///system dominfo {SERVER}'"
    assert found.next == (f"{check} && dedangle cleanup {SERVER} --volume {VOLUME}{before} --no-host --execute",)
    both = world.but(thorough=True, host_acts=True, guests={OTHER_HOST: (), HOST: ()})
    (found,) = [each for each in with_ways_out(both) if each.attachment_id == "B"]
    assert found.next == (f"dedangle cleanup {SERVER} --execute",)
