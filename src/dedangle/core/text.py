# SPDX-License-Identifier: Apache-2.0
"""Words of tenants, made harmless."""

from __future__ import annotations


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


def defused(text: str) -> str:
    """The text with an apostrophe before what a spreadsheet would take for a formula and carry out."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
