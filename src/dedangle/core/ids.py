# SPDX-License-Identifier: Apache-2.0
"""Ids of servers, volumes and attachments, and the short ids that a table shows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

SHORT = 8
"""The least number of characters of a short id."""

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_ANY_ID = "00000000-0000-0000-0000-000000000000"


def is_id(text: str) -> bool:
    """Whether the text has the form of the id of a server, volume or attachment."""
    return _ID.fullmatch(text) is not None


def is_short_id(text: str) -> bool:
    """Whether the text is long enough for a short id, and an id can begin with it."""
    return SHORT <= len(text) < len(_ANY_ID) and is_id(text + _ANY_ID[len(text) :])


def short_ids(ids: Iterable[str]) -> dict[str, str]:
    """Return the short id of each id: eight characters, or as many more as are needed to be unique among them.

    An id that is not a UUID as Nova and Cinder write it is not shortened.
    """
    known = set(ids)
    beginnings = Counter(start for ident in known for start in _beginnings(ident))
    return {ident: next((start for start in _beginnings(ident) if beginnings[start] == 1), ident) for ident in known}


def _beginnings(ident: str) -> Iterator[str]:
    """Yield the possible short ids of an id, the shortest first."""
    if is_id(ident) and ident == ident.lower():
        yield from (ident[:length] for length in range(SHORT, len(ident)))
