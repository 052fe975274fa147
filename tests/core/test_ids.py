# SPDX-License-Identifier: Apache-2.0
"""Short ids tell the ids of a list apart, and are known again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedangle.core.ids import is_id, is_short_id, short_ids

ONE, ALIKE, OTHER = (
    "0f3a9c1e-1111-4000-8000-000000000001",
    "0f3a9c1e-1121-4000-8000-000000000001",
    "11111111-1111-4000-8000-000000000001",
)


def test_eight_characters_are_enough_until_another_id_begins_so() -> None:
    assert short_ids([ONE, OTHER, ONE]) == {ONE: "0f3a9c1e", OTHER: "11111111"}
    assert short_ids([ONE, ALIKE, OTHER]) == {ONE: "0f3a9c1e-111", ALIKE: "0f3a9c1e-112", OTHER: "11111111"}


@pytest.mark.parametrize("ident", ["", "server-1", ONE.upper(), ONE.replace("-", ""), "x" * 40])
def test_what_is_no_id_of_nova_s_stays_whole(ident: str) -> None:
    assert short_ids([ident, ONE])[ident] == ident


# Few digits, so that many ids begin alike.
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1))
def test_a_short_id_names_one_id_of_its_list(numbers: list[tuple[int, int]]) -> None:
    ids = {f"0f3a9c1{first}-111{last}-4000-8000-000000000001" for first, last in numbers}
    for ident, short in short_ids(ids).items():
        assert is_short_id(short)
        assert [each for each in ids if each.startswith(short)] == [ident]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0f3a9c1e", True),
        ("0F3A9C1E", True),
        (ONE[:20], True),
        (ONE, False),
        ("0f3a9c1", False),
        ("web-1", False),
        ("0f3a9c1e1", False),
        ("0f3a9c1g", False),
        ("", False),
    ],
)
def test_a_short_id_has_eight_characters_and_the_form_of_an_id(text: str, expected: bool) -> None:
    assert is_short_id(text) is expected
    assert not (is_short_id(text) and is_id(text))
