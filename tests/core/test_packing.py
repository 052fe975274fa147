# SPDX-License-Identifier: Apache-2.0
"""Pages of ids, packed from records and from a database's text alike."""

import uuid
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedangle.core import packing

IDS = st.one_of(st.uuids().map(str), st.sampled_from([packing.NO_ID_TEXT, "vol-00000001", "a" * 36, "-" * 36, "é" * 3]))
SERVERS = st.uuids().map(str)


@given(st.lists(st.tuples(IDS, SERVERS, IDS, st.sampled_from(packing.STATUSES))))
def test_a_text_packs_as_its_records_do(rows: list[tuple[str, str, str, str]]) -> None:
    text = "".join(f"{','.join(ids)},{packing.status_byte(status).hex()}\n" for *ids, status in rows)
    records = packing.rows_of((tuple(ids), packing.status_byte(status)) for *ids, status in rows)
    assert packing.rows_of_text(text, len(rows), 3, flagged=True) == records
    assert len(records.packed) == 49 * len(rows)


@given(st.lists(st.uuids().map(str), min_size=1), st.integers(min_value=1))
def test_a_text_that_was_cut_short_is_none(ids: list[str], lost: int) -> None:
    text = "".join(f"{each}\n" for each in ids)
    assert packing.rows_of_text(text, len(ids), 1) is not None
    assert packing.rows_of_text(text[:-lost], len(ids), 1) is None


def test_a_server_whose_id_is_no_uuid_is_named() -> None:
    line = ",".join([str(uuid.UUID(int=1)), "i-0001", str(uuid.UUID(int=2))])
    assert packing.rows_of_text(f"{line}\n", 1, 3) == packing.Rows(b"", ("i-0001",), (uuid.UUID(int=2).bytes,))


@pytest.mark.parametrize("spell", [str.upper, lambda text: text.replace("-", ""), lambda text: f"{text[1:]}{text[0]}"])
def test_a_server_whose_id_is_spelled_otherwise_is_another(spell: Callable[[str], str]) -> None:
    spelled = spell("0f8fad5b-d9cb-469f-a165-70867728950e")
    line = ",".join([str(uuid.UUID(int=1)), spelled, str(uuid.UUID(int=2))])
    assert packing.rows_of_text(f"{line}\n", 1, 3) == packing.Rows(b"", (spelled,), (uuid.UUID(int=2).bytes,))


def test_a_status_that_was_cut_short_is_none() -> None:
    line = ",".join([*(str(uuid.UUID(int=number)) for number in range(3)), "0"])
    assert packing.rows_of_text(f"{line}\n", 1, 3, flagged=True) is None


@pytest.mark.parametrize("status", ["attached", "reserved", "of a later release"])
def test_a_status_has_a_place(status: str) -> None:
    (place,) = packing.status_byte(status)
    assert packing.STATUSES[place] == (status if status in packing.STATUSES else "unknown")


def test_an_id_comes_back() -> None:
    ident = "0f8fad5b-d9cb-469f-a165-70867728950e"
    assert packing.unpack(packing.pack(ident)) == ident
