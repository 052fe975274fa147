# SPDX-License-Identifier: Apache-2.0
"""Values as cells of cliff's formats: text of tenants acts neither on a terminal nor on a spreadsheet."""

from __future__ import annotations

from typing import Any

from dedangle.core.text import defused, harmless


def text(value: Any, formatter: str) -> Any:
    """Return the value as the format of that name prints it; json and yaml write lists and escapes of their own."""
    if formatter in ("json", "yaml"):
        return value
    if value is None and formatter == "table":
        return ""
    if isinstance(value, list):
        joined = ("\n" if formatter == "table" else "; ").join(harmless(str(each)) for each in value)
        return defused(joined) if formatter == "csv" else joined
    if not isinstance(value, str):
        return value
    return defused(harmless(value)) if formatter == "csv" else harmless(value)
