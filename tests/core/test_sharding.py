# SPDX-License-Identifier: Apache-2.0
"""Every server is in one shard, always the same."""

from __future__ import annotations

import random
import uuid
from collections import Counter

import pytest

from dedangle.core.sharding import WHOLE, Shard

FOUR = [Shard(index, 4) for index in range(1, 5)]


def test_every_server_is_in_one_shard_and_they_are_alike_in_size() -> None:
    chance = random.Random(1)
    ids = [str(uuid.UUID(int=chance.getrandbits(128))) for _ in range(4000)]
    held = [[shard for shard in FOUR if shard.holds(each)] for each in ids]
    assert {len(each) for each in held} == {1}
    sizes = Counter(str(each[0]) for each in held)
    assert all(900 < size < 1100 for size in sizes.values()), sizes


@pytest.mark.parametrize(
    ("server_id", "index"), [("8f6b5a1e-0c5d-4c1f-9d7e-2f3a4b5c6d7e", 3), ("00000000-0000-4000-8000-000000000001", 2)]
)
def test_the_shard_of_a_server_is_the_same_in_every_release(server_id: str, index: int) -> None:
    assert [index] == [shard.index for shard in FOUR if shard.holds(server_id)]


def test_what_has_no_server_is_in_the_first() -> None:
    assert [shard.index for shard in FOUR if shard.holds(None)] == [1]
    assert WHOLE.holds(None)
