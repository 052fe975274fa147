# SPDX-License-Identifier: Apache-2.0
"""The one way in which dedangle writes and reads a time."""

from __future__ import annotations

from datetime import datetime, timezone


def utc(moment: datetime) -> str:
    """Return the moment as every message, row and file has it, such as 2026-11-22T21:30:00Z."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def exact(moment: datetime) -> str:
    """Return the same to the microsecond: the journal tells what came first."""
    return moment.astimezone(timezone.utc).replace(tzinfo=None).isoformat() + "Z"


def parse(text: str) -> datetime:
    """Return the moment that an ISO 8601 text names, in UTC if it has no time zone; raise ValueError."""
    # Python 3.10 does not know Z.
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
