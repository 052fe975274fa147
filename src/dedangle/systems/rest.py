# SPDX-License-Identifier: Apache-2.0
"""What the answers of Nova's and Cinder's APIs have in common."""

from __future__ import annotations

from typing import Any


def body(answer: Any) -> dict[str, Any]:
    """The JSON object of an answer; empty where it is none."""
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def message(answer: Any) -> str:
    """What the service says went wrong, on one line; not a proxy's page."""
    for value in body(answer).values():
        if isinstance(value, dict) and isinstance(value.get("message"), str):
            return "".join(each for each in " ".join(value["message"].split()) if each.isprintable())
    return "not an answer of the service's own"
