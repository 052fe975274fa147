# SPDX-License-Identifier: Apache-2.0
"""Write and read times in the one format that dedangle uses."""

from __future__ import annotations

from datetime import datetime, timezone


def utc(moment: datetime) -> str:
    """Return the moment in UTC, such as 2026-11-22T21:30:00Z."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def exact(moment: datetime) -> str:
    """Return the same with microseconds, for the order of entries in the journal."""
    return moment.astimezone(timezone.utc).replace(tzinfo=None).isoformat() + "Z"


def parse(text: str) -> datetime:
    """Return the moment of an ISO 8601 text, in UTC if it has no time zone; raise ValueError for any other text."""
    # Python 3.10 does not accept Z.
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
