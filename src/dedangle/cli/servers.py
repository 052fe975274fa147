# SPDX-License-Identifier: Apache-2.0
"""Find the servers that the operator names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dedangle.cli import short_ids
from dedangle.cli.errors import UnreachableError, UsageError
from dedangle.core.ids import is_id, is_short_id
from dedangle.core.text import harmless

if TYPE_CHECKING:
    from dedangle.core.records import NamedServer
    from dedangle.reconcile.server import Judged
    from dedangle.systems.cinder.api import CinderApi
    from dedangle.systems.ports import Cinder, Fleet


def identify(servers: Sequence[str], nova: Fleet, cinder: CinderApi) -> list[str]:
    """Return the ids of servers that are given by id, short id or name, each once.

    Text in the form of an id is never used as a name.

    Raises UsageError if no live server or several servers have the name, or if a short id is not that of one server.
    Raises UnreachableError if a cell does not answer, because it may have a server of that name.
    """
    names = {server for server in servers if not is_id(server)}
    if not names:
        return list(dict.fromkeys(server.lower() for server in servers))
    found = nova.named(names)
    if not found.complete:
        shown = ", ".join(map(harmless, sorted(names)))
        raise UnreachableError(f"Cannot find the server named {shown}: {found.why}. Use its id.")
    ids = [server if server not in names else _only(server, found.rows, nova, cinder) for server in servers]
    return list(dict.fromkeys(ident.lower() for ident in ids))


def _only(name: str, found: Sequence[NamedServer], nova: Fleet, cinder: CinderApi) -> str:
    # A cross-cell resize keeps a copy of the server with the same id in the other cell.
    bearers = {server.id: server for server in found if name in server.names}
    if is_short_id(name):
        meant = short_ids.server(name, bearers, nova, cinder)
        if meant:
            return meant
    if not bearers:
        raise UsageError(
            f"No cell has a server named {harmless(name)}. A deleted server can only be found by its id. "
            "Look it up with: openstack server list --all-projects --deleted"
        )
    if len(bearers) > 1:
        lines = [
            f"  {server.id}  project {server.project_id}  {server.cell}  {server.vm_state}  "
            + harmless(" / ".join(server.names))
            for server in bearers.values()
        ]
        raise UsageError(
            "\n".join([f"{len(bearers)} servers are named {harmless(name)}. Use the id of one of them:", *lines])
        )
    return next(iter(bearers))


def require_known(judged: Sequence[Judged], cinder: Cinder) -> None:
    """Raise UsageError for an id that belongs to no server; it may be mistyped, and must not look clean."""
    for one in judged:
        if not one.is_known:
            raise UsageError(_what_it_is(one.seen.server_id, cinder))


def _what_it_is(ident: str, cinder: Cinder) -> str:
    """Return what the id belongs to, and what to type for it; for example a ticket may name a volume."""
    if cinder.volume(ident).rows:
        holders = [
            attachment.server_id for attachment in cinder.attachments_of_volume(ident).rows if attachment.server_id
        ]
        if not holders:
            return f"{ident} is a volume, and no server has an attachment of it. Run: openstack volume show {ident}"
        return (
            f"{ident} is a volume, not a server. Server {holders[0]} has it attached. "
            f"Run: dedangle audit --server {holders[0]}"
        )
    for attachment in cinder.attachment(ident).rows:
        of = f"{ident} is an attachment of volume {attachment.volume_id}, not a server."
        return f"{of} It names server {attachment.server_id}. Run: dedangle audit --server {attachment.server_id}"
    return (
        f"There is no server {ident}: no cell of Nova has this id, and no attachment in Cinder names it. "
        "Look it up with: openstack server list --all-projects"
    )
