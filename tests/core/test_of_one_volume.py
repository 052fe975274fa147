# SPDX-License-Identifier: Apache-2.0
"""Where an operator names a volume, no printed command changes another volume of the server."""

from __future__ import annotations

import re

import pytest

from core.worlds import (
    HOST,
    OTHER_HOST,
    OTHER_SERVER,
    RUNNING,
    SECOND_VOLUME,
    SERVER,
    VOLUME,
    World,
    attachment,
    deleted,
    mapping,
    policy,
    server,
    stopped,
    tombstone,
    volume,
    with_ways_out,
)
from dedangle.core.decisions import Door
from dedangle.core.manual import no_guest_on, no_running_guest_on

LOST = World(servers=(stopped(),), mappings=(mapping("A"),), volumes=(volume("available"),), thorough=True)
LEFT = World(
    servers=(deleted(power_state=RUNNING),),
    attachments=(attachment("A"), attachment("B")),
    volumes=(volume(),),
    connected={"A": HOST, "B": OTHER_HOST},
    thorough=True,
)


@pytest.mark.parametrize(
    "world",
    [
        LOST,
        LOST.but(servers=(server(),)),
        LOST.but(mappings=(mapping("A", boot_index=0),)),
        LOST.but(
            mappings=(mapping("A"), mapping("R", SECOND_VOLUME, boot_index=0)),
            volumes=(volume("available"), volume("available", SECOND_VOLUME)),
        ),
        LOST.but(mappings=(), tombstones=(tombstone("A"),), attachments=(attachment("A"),), volumes=(volume(),)),
        LOST.but(
            servers=(server(),),
            attachments=(attachment("B", holder=OTHER_SERVER),),
            volumes=(volume(),),
            connected={"B": OTHER_HOST},
        ),
        LEFT,
    ],
    ids=["lost", "running", "root", "two", "released", "elsewhere", "deleted"],
)
def test_every_command_names_the_volume(world: World) -> None:
    for how in (policy(Door.SWEEP, names_volume=True), policy(Door.COMMAND, names_volume=True)):
        found = with_ways_out(world, how)
        lines = [(each.volume_id, line) for each in found for line in each.next if "dedangle" in line]
        assert lines
        for volume_id, line in lines:
            assert re.search(rf"dedangle cleanup server-[12] --volume {volume_id} ", line), line
            assert line.count("--volume") == 1
        assert all(each.reason.endswith(each.next[-1]) for each in found if each.next)


def test_a_host_that_the_server_has_left_is_asked_before_it_is_skipped() -> None:
    (way, *_) = [each.next for each in with_ways_out(LEFT, policy(Door.SWEEP, names_volume=True))]
    assert way[-1] == (
        f"{no_guest_on(OTHER_HOST, SERVER)} && {no_running_guest_on(HOST, SERVER)} && "
        f"dedangle cleanup {SERVER} --volume {VOLUME} --no-host --execute"
    )
