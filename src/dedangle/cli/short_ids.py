# SPDX-License-Identifier: Apache-2.0
"""Which server or volume a short id means, as the table of findings shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from dedangle.cli.wiring import UnreachableError, UsageError
from dedangle.core.records import Reading

if TYPE_CHECKING:
    from dedangle.systems.cinder.api import CinderApi
    from dedangle.systems.ports import Fleet


def server(short_id: str, named: Iterable[str], nova: Fleet, cinder: CinderApi) -> str | None:
    """Return the id of the only server with this name or an id that begins so; None if there is none.

    `named` are the ids of those with the name. Raises UsageError if there are more, and UnreachableError.
    """
    return _only("servers", short_id, named, (nova.servers_beginning_with, cinder.servers_beginning_with))


def volume(short_id: str, named: Iterable[str], nova: Fleet, cinder: CinderApi) -> str | None:
    """Return the id of the only volume with this name or an id that begins so, as server() does."""
    return _only("volumes", short_id, named, (nova.volumes_beginning_with, cinder.volumes_beginning_with))


def _only(
    kind: str, short_id: str, named: Iterable[str], sources: Iterable[Callable[[str], Reading[str]]]
) -> str | None:
    # A tenant can give a server a name that is the short id of another one.
    found = {*named, *_beginning_with(short_id, sources)}
    if len(found) > 1:
        ids = ", ".join(sorted(found))
        raise UsageError(f"{short_id} stands for {len(found)} {kind}: {ids}. Give the whole id.")
    return next(iter(found), None)


def _beginning_with(short_id: str, sources: Iterable[Callable[[str], Reading[str]]]) -> tuple[str, ...]:
    """Return what the first source finds that finds any: Cinder must list all that it has."""
    for source in sources:
        reading = source(short_id.lower())
        if not reading.complete:
            raise UnreachableError(f"Cannot tell whose id begins with {short_id}: {reading.why}. Give the whole id.")
        if reading.rows:
            return reading.rows
    return ()
