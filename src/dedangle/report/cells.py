# SPDX-License-Identifier: Apache-2.0
"""Values as cells of cliff's formats: text of tenants acts neither on a terminal nor on a spreadsheet."""

from __future__ import annotations

from typing import Any

from dedangle.core.text import defused, harmless


def cell(value: Any, formatter: str) -> Any:
    """The value as the format of that name may print it; json and yaml write escapes of their own."""
    if value is None and formatter == "table":
        return ""
    if not isinstance(value, str) or formatter in ("json", "yaml"):
        return value
    return defused(harmless(value)) if formatter == "csv" else harmless(value)
