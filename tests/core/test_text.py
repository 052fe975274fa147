# SPDX-License-Identifier: Apache-2.0
"""What a tenant writes cannot act on a terminal."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedangle.core.text import defused, harmless, harmless_lines, shortened, wrapped


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("web-1", "web-1"),
        ("größe 東京", "größe 東京"),
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("exe\u202egpj.txt", r"exe\u202egpj.txt"),
        ("a\r\nb\u2028c", r"a\r\nb\u2028c"),
        ("zero\u200bwidth", r"zero\u200bwidth"),
    ],
)
def test_a_name_is_shown_without_its_powers(name: str, shown: str) -> None:
    assert shown == harmless(name)


@given(st.text())
def test_nothing_that_controls_formats_or_separates_is_left(name: str) -> None:
    assert not [each for each in harmless(name) if unicodedata.category(each) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


def test_lines_of_ours_stay_lines() -> None:
    assert harmless_lines("1. a\x1b[2J\n   b\r\n") == "1. a\\x1b[2J\n   b\\r\n"


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)"])
def test_a_formula_is_text_to_a_spreadsheet(name: str) -> None:
    assert defused(name) == f"'{name}"
    assert defused(f"web{name}") == f"web{name}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web-1", "web-1"),
        ("12345678", "12345678"),
        ("123456789", "12345..."),
        ("東京東京", "東京東京"),
        ("東京東京東", "東京..."),
    ],
)
def test_a_text_is_cut_to_columns_of_a_terminal(text: str, expected: str) -> None:
    assert shortened(text, 8) == expected


def test_text_is_wrapped_between_words_and_made_harmless() -> None:
    ident = "3b89982f-1304-42a0-94e7-dab3b207dc29"
    assert wrapped(f"Volume {ident} is\x1b[2J stuck", 30, "- ", "  ") == [
        "- Volume",
        f"  {ident}",
        "  is\\x1b[2J stuck",
    ]
    assert wrapped("one two three", None, "  ") == ["  one two three"]
    assert max(map(len, wrapped("word " * 100, 200))) <= 100
