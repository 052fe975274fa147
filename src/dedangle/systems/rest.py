# SPDX-License-Identifier: Apache-2.0
"""What the answers of Nova's and Cinder's APIs have in common."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
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


def date(answer: Any) -> Iterator[datetime]:
    """When the service says that it answered, to the second, where it says so."""
    try:
        moment = parsedate_to_datetime(answer.headers.get("Date", ""))
    except (TypeError, ValueError):
        return
    yield moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
