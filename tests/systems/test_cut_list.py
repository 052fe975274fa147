# SPDX-License-Identifier: Apache-2.0
"""The parts of a list of Cinder's meet without a gap or a double, whatever comes and goes while they are read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedangle.systems.cinder import cut
from dedangle.systems.cinder.client import BusyError, MarkerGoneError

Row = dict[str, Any]


class Cinder:
    """A list in the order of its ids; before each page some rows come and go."""

    def __init__(self, ids: set[str], limit: int, changes: Iterator[tuple[list[str], list[str]]]) -> None:
        self.ids, self.limit, self.changes = set(ids), limit, changes
        self.ever, self.throughout = set(ids), set(ids)
        self.asked = 0

    def __call__(self, marker: str | None) -> tuple[list[Row], bool]:
        self.asked += 1
        come, go = next(self.changes, ([], []))
        self.ids = (self.ids | {*come}) - {*go}
        self.ever |= {*come}
        self.throughout -= {*go}
        if marker is not None and marker not in self.ids:
            raise MarkerGoneError
        following = sorted(each for each in self.ids if each > (marker or ""))[: self.limit]
        return [{"id": each} for each in following], not following


IDS = st.integers(0, 99).map("{:02}".format)
CHANGES = st.lists(st.tuples(st.lists(IDS, max_size=3), st.lists(IDS, max_size=6)), max_size=40)


@settings(max_examples=400, deadline=None)
@given(st.sets(IDS), st.lists(IDS, max_size=12), st.integers(1, 5), st.integers(1, 9), CHANGES, st.randoms())
def test_parts_meet_without_a_gap_or_a_double(
    ids: set[str], known: list[str], parts: int, limit: int, changes: list[tuple[list[str], list[str]]], chance: Any
) -> None:
    cinder = Cinder(ids, limit, iter(changes))
    at = cut.cuts(known, parts)
    reading = [cut.part(cinder, at, number) for number in range(len(at) + 1)]
    found: list[str] = []
    while reading:
        # One page of any of the parts at a time, as their threads may come.
        one = chance.choice(reading)
        try:
            found += [row["id"] for row in next(one)]
        except StopIteration:
            reading.remove(one)
        except cut.ChangingError:
            return
    assert len(found) == len(set(found))
    assert cinder.throughout <= set(found) <= cinder.ever


def test_a_list_is_cut_evenly() -> None:
    known = [f"{number:03}" for number in range(400)]
    assert cut.cuts(known, 4) == ["100", "200", "300"]
    assert cut.cuts(known, 1) == cut.cuts(known[:3], 4) == []


def test_a_list_that_is_not_in_order_is_not_read_in_parts() -> None:
    page = [{"id": "b"}, {"id": "a"}]
    with pytest.raises(cut.UnsortedError):
        list(cut.part(lambda _: (page, True), [], 0))


def test_a_part_waits_where_cinder_asks_for_time() -> None:
    answers: list[Exception | list[Row]] = [BusyError("429", 3), BusyError("503", 0), [{"id": "a"}]]
    waited: list[float] = []

    def ask(_: str | None) -> tuple[list[Row], bool]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer, True

    assert list(cut.part(ask, [], 0, waited.append)) == [[{"id": "a"}]]
    assert waited == [3, 2]
    answers[:] = [BusyError("503", 0)] * 7
    with pytest.raises(BusyError):
        list(cut.part(ask, [], 0, waited.append))
    assert waited[2:] == [1, 2, 4, 8, 16, 32]


def _at_once(parts: int) -> Callable[[int], Iterator[list[Row]]]:
    together = threading.Barrier(parts, timeout=30)

    def read(number: int) -> Iterator[list[Row]]:
        # No part goes on before each has begun.
        together.wait()
        yield [{"id": f"{number}{place}"} for place in range(3)]

    return read


def test_parts_are_read_at_once() -> None:
    found = list(cut.together([_read(number) for _read in [_at_once(4)] for number in range(4)]))
    assert sorted(row["id"] for page in found for row in page) == [f"{a}{b}" for a in range(4) for b in range(3)]


def test_what_a_part_raises_is_raised() -> None:
    def fail() -> Iterator[list[Row]]:
        raise cut.UnsortedError
        yield

    with pytest.raises(cut.UnsortedError):
        list(cut.together([iter([[{"id": "a"}]]), fail()]))
