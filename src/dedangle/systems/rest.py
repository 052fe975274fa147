# SPDX-License-Identifier: Apache-2.0
"""Read the answers of Nova's and Cinder's APIs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any


def body(answer: Any) -> dict[str, Any]:
    """Return the JSON object of an answer; empty if the answer is not a JSON object."""
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def message(answer: Any) -> str:
    """Return the error message of the service on one line, but not the HTML page of a proxy."""
    for value in body(answer).values():
        if isinstance(value, dict) and isinstance(value.get("message"), str):
            return "".join(each for each in " ".join(value["message"].split()) if each.isprintable())
    return "the answer is not from the service itself"


def date(answer: Any) -> Iterator[datetime]:
    """Yield the time of the Date header of an answer, to the second, if there is one."""
    try:
        moment = parsedate_to_datetime(answer.headers.get("Date", ""))
    except (TypeError, ValueError):
        return
    yield moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def retry_after(answer: Any) -> float:
    """Return the seconds of the header Retry-After; 0 without it, or if it is a date."""
    try:
        return max(0.0, float(answer.headers.get("Retry-After", 0)))
    except (AttributeError, TypeError, ValueError):
        return 0.0
