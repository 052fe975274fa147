# SPDX-License-Identifier: Apache-2.0
"""Words of tenants, made harmless."""

from __future__ import annotations


def harmless(text: str) -> str:
    """The text with all that could act on a terminal shown as its code: control characters, line ends, overrides.

    In Unicode's terms what turns the direction of a line (U+202E) or has no width is no more printable than an escape.
    """
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
