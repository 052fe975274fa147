# SPDX-License-Identifier: Apache-2.0
"""Words of tenants, made harmless."""

from __future__ import annotations

import itertools
import unicodedata


def harmless(text: str) -> str:
    """The text with all that could act on a terminal shown as its code: control characters, line ends, overrides.

    In Unicode's terms what turns the direction of a line (U+202E) or has no width is no more printable than an escape.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def harmless_lines(text: str) -> str:
    """The same for a text of ours in several lines, whose line ends are kept."""
    return "\n".join(map(harmless, text.split("\n")))


def width(text: str) -> int:
    """Return how many columns of a terminal it takes, at most."""
    return sum(map(_columns, text))


def shortened(text: str, columns: int) -> str:
    """The text if a terminal shows it in so many columns, or else its beginning and three dots."""
    if width(text) <= columns:
        return text
    return text[: sum(end <= columns - 3 for end in itertools.accumulate(map(_columns, text)))] + "..."


def _columns(character: str) -> int:
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def defused(text: str) -> str:
    """The text with an apostrophe before what a spreadsheet would take for a formula and carry out."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
