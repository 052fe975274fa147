# SPDX-License-Identifier: Apache-2.0
"""Format values for cliff's output formats, so that tenants' text cannot act on a terminal or a spreadsheet."""

from __future__ import annotations

from typing import Any

from dedangle.core.text import defused, harmless


def text(value: Any, formatter: str) -> Any:
    """Return the value for the output format; json and yaml format and escape values themselves."""
    if formatter in ("json", "yaml"):
        return value
    if value is None and formatter == "table":
        return ""
    if isinstance(value, list):
        joined = ("\n" if formatter == "table" else "; ").join(harmless(_words(each)) for each in value)
        return defused(joined) if formatter == "csv" else joined
    if not isinstance(value, str):
        return value
    return defused(harmless(value)) if formatter == "csv" else harmless(value)


def _words(value: Any) -> str:
    """Return one of several values as text: of what has names of its own, those that are there."""
    if isinstance(value, dict):
        return " ".join(f"{name}={each}" for name, each in value.items() if each)
    return str(value)
