# SPDX-License-Identifier: Apache-2.0
"""Escape text that tenants choose, such as names."""

from __future__ import annotations

import itertools
import textwrap
import unicodedata


def harmless(text: str) -> str:
    """Return the text with every character that could act on a terminal replaced by its escape code.

    These are control characters, line ends, and Unicode characters that change the direction of a line (U+202E) or
    have no width.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def harmless_lines(text: str) -> str:
    """Return the same for a text of several lines, and keep the line ends."""
    return "\n".join(map(harmless, text.split("\n")))


_READABLE = 100


def wrapped(text: str, columns: int | None, indent: str = "", hanging: str | None = None) -> list[str]:
    """Return the text, made harmless, in lines of so many columns, or in one; hanging begins every line but the first.

    A word is never broken: ids and paths are there to be copied. On a wide terminal lines end at 100 columns, because
    nobody reads longer ones with ease.
    """
    if columns is None:
        return [indent + harmless(text)]
    lines = textwrap.TextWrapper(
        min(columns, _READABLE),
        initial_indent=indent,
        subsequent_indent=indent if hanging is None else hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines.wrap(harmless(text))


def width(text: str) -> int:
    """Return how many columns of a terminal the text takes, at most."""
    return sum(map(_columns, text))


def shortened(text: str, columns: int) -> str:
    """Return the text, or its beginning and three dots if it takes more columns."""
    if width(text) <= columns:
        return text
    return text[: sum(end <= columns - 3 for end in itertools.accumulate(map(_columns, text)))] + "..."


def _columns(character: str) -> int:
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def defused(text: str) -> str:
    """Return the text with an apostrophe before it if a spreadsheet would execute it as a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
