# SPDX-License-Identifier: Apache-2.0
"""Every finding of every small world has commands, waits for something named, or asks a question of the short list."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice, product

import pytest

from core.test_small_worlds import (
    EXTRA,
    OWN,
    SERVERS,
    VOLUMES,
    lost_hosts,
    mappings,
    of_one_volume,
    one_volume,
    shared_volume,
    two_volumes,
    with_guests,
)
from core.worlds import RUNNING, SERVER, SHUTDOWN, World, server, with_ways_out
from dedangle.core.decisions import Disposition, Finding
from dedangle.core.findings import KINDS
from dedangle.core.outside import QUESTIONS


def other_states() -> Iterator[World]:
    """One volume of a server in each of the other states that a server may stay in."""
    states = {"shelved": SHUTDOWN, "soft-delete": SHUTDOWN, "paused": PAUSED, "suspended": SHUTDOWN}
    states |= {"rescued": RUNNING, "error": RUNNING, "resized": RUNNING}
    for (vm_state, power_state), kind, own, extra, vol in product(
        states.items(), mappings("volume-1", "A").values(), OWN, EXTRA, VOLUMES[:4]
    ):
        one = {"servers": (server(vm_state, power_state=power_state),)}
        yield of_one_volume(one, kind, own, extra, None, vol)


def half_made() -> Iterator[World]:
    """One volume with an attachment beside it that was never completed, and whose host Cinder does not show."""
    beside = (("attaching", None), ("error_attaching", None), ("detached", None))
    for one, kind, own, extra, vol in product(
        SERVERS.values(), mappings("volume-1", "A").values(), (*OWN, "detached"), beside, VOLUMES[:4]
    ):
        yield of_one_volume(one, kind, own, extra, None, vol)


FAMILIES = (one_volume, shared_volume, two_volumes, with_guests, other_states, half_made, lost_hosts)
PAUSED = 3
# A prime, so that a part of the worlds has every value of each dimension.
STEP = 61


def is_open(world: World, finding: Finding) -> bool:
    """Whether the world has what only a person can decide, by its raw rows."""
    volumes = {each.id for each in world.volumes}
    own = [each for each in world.attachments if each.server_id == SERVER]
    named = {each.attachment_id for each in world.mappings}
    of_volume = [each for each in world.attachments if each.volume_id == finding.volume_id]
    return (
        all(each.hidden and each.deleted for each in world.servers)
        or any(each.volume_id not in volumes for each in world.attachments)
        or any(each.server_id != SERVER for each in of_volume)
        or any(each.vm_state in ("resized", "soft-delete") for each in world.servers)
        or world.host_down_since is not None
        # Cinder shows no host for it.
        or any(each.status == "attached" and each.id not in world.connected for each in own)
        # It may be the new one of a swap, or of a mapping that Nova's database has lost.
        or any(each.status != "reserved" and each.id not in named for each in own)
        or any(each.attachment_id in named and each.volume_id == finding.volume_id for each in own[1:])
    )


def check(worlds: Iterator[World]) -> int:
    """Check the findings of each world; return how many were listed."""
    listed = 0
    for world in worlds:
        for finding in with_ways_out(world.but(thorough=True)):
            if finding.code not in KINDS:
                # Nothing is wrong, or it waits: the reason says for what.
                assert finding.reason
                continue
            listed += 1
            asked = [each for each in QUESTIONS if finding.reason.endswith(f"Decide {each.asks}.")]
            if finding.next:
                assert not asked
            elif finding.disposition is Disposition.WAIT:
                assert "Waits" in finding.reason
            else:
                assert asked, (finding.code, finding.reason, world)
                assert is_open(world, finding), (finding.reason, world)
    return listed


@pytest.mark.parametrize("family", FAMILIES, ids=[each.__name__ for each in FAMILIES])
def test_a_part_of_the_small_worlds_has_no_dead_end(family: Callable[[], Iterator[World]]) -> None:
    assert check(islice(family(), None, None, STEP)) > 50


@pytest.mark.thorough
@pytest.mark.parametrize("family", FAMILIES, ids=[each.__name__ for each in FAMILIES])
def test_no_small_world_has_a_dead_end(family: Callable[[], Iterator[World]]) -> None:
    assert check(family()) > 1_000
