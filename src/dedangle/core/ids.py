# SPDX-License-Identifier: Apache-2.0
"""Ids of servers, volumes and attachments, and the short ones that a table shows for them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

SHORT = 8
"""How many characters a short id has at least."""

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_ANY_ID = "00000000-0000-0000-0000-000000000000"


def is_id(text: str) -> bool:
    """Whether it has the form of the id of a server, volume or attachment."""
    return _ID.fullmatch(text) is not None


def is_short_id(text: str) -> bool:
    """Whether an id can begin with it, and it has enough characters to name one."""
    return SHORT <= len(text) < len(_ANY_ID) and is_id(text + _ANY_ID[len(text) :])


def short_ids(ids: Iterable[str]) -> dict[str, str]:
    """Return, by id, its first characters: eight, or as many more as tell it from the others.

    An id that is no UUID as Nova and Cinder write it stays as it is.
    """
    known = set(ids)
    beginnings = Counter(start for ident in known for start in _beginnings(ident))
    return {ident: next((start for start in _beginnings(ident) if beginnings[start] == 1), ident) for ident in known}


def _beginnings(ident: str) -> Iterator[str]:
    """Yield the beginnings of an id that is accepted back, the shortest first."""
    if is_id(ident) and ident == ident.lower():
        yield from (ident[:length] for length in range(SHORT, len(ident)))
