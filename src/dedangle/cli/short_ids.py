# SPDX-License-Identifier: Apache-2.0
"""Find the server or volume that a short id of the table of findings stands for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from dedangle.cli.errors import UnreachableError, UsageError
from dedangle.core.records import Reading

if TYPE_CHECKING:
    from dedangle.systems.cinder.api import CinderApi
    from dedangle.systems.ports import Fleet


def server(short_id: str, named: Iterable[str], nova: Fleet, cinder: CinderApi) -> str | None:
    """Return the id of the only server that has this name or whose id begins with it; None if there is none.

    `named` are the ids of the servers with this name. Raises UsageError if there are several servers, and
    UnreachableError if Nova or Cinder does not answer.
    """
    return _only("servers", short_id, named, (nova.servers_beginning_with, cinder.servers_beginning_with))


def volume(short_id: str, named: Iterable[str], nova: Fleet, cinder: CinderApi) -> str | None:
    """Return the id of the only volume that has this name or whose id begins with it; errors are those of server()."""
    return _only("volumes", short_id, named, (nova.volumes_beginning_with, cinder.volumes_beginning_with))


def _only(
    kind: str, short_id: str, named: Iterable[str], sources: Iterable[Callable[[str], Reading[str]]]
) -> str | None:
    # A tenant can give a server a name that is the short id of another one.
    found = {*named, *_beginning_with(short_id, sources)}
    if len(found) > 1:
        ids = ", ".join(sorted(found))
        raise UsageError(f"{short_id} stands for {len(found)} {kind}: {ids}. Use the full id.")
    return next(iter(found), None)


def _beginning_with(short_id: str, sources: Iterable[Callable[[str], Reading[str]]]) -> tuple[str, ...]:
    """Return the ids of the first source that finds any. Cinder comes last, because it must list everything."""
    for source in sources:
        reading = source(short_id.lower())
        if not reading.complete:
            raise UnreachableError(f"Cannot find the id that begins with {short_id}: {reading.why}. Use the full id.")
        if reading.rows:
            return reading.rows
    return ()
