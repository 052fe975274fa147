# SPDX-License-Identifier: Apache-2.0
"""Which servers the operator means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dedangle.cli import short_ids
from dedangle.cli.wiring import UnreachableError, UsageError
from dedangle.core.ids import is_id, is_short_id
from dedangle.core.text import harmless

if TYPE_CHECKING:
    from dedangle.core.records import NamedServer
    from dedangle.reconcile.server import Judged
    from dedangle.systems.cinder.api import CinderApi
    from dedangle.systems.ports import Cinder, Fleet


def identify(servers: Sequence[str], nova: Fleet, cinder: CinderApi) -> list[str]:
    """Return the ids of servers that are named by id, short id or name, each once.

    What looks like an id is never taken for a name.

    Raises UsageError for a name that no live server or more than one has, or a short id that is not one server's;
    UnreachableError while a cell is silent, which may hold a server of that name.
    """
    names = {server for server in servers if not is_id(server)}
    if not names:
        return list(dict.fromkeys(server.lower() for server in servers))
    found = nova.named(names)
    if not found.complete:
        shown = ", ".join(map(harmless, sorted(names)))
        raise UnreachableError(f"Cannot tell which server is named {shown}: {found.why}. Name it by its id.")
    ids = [server if server not in names else _only(server, found.rows, nova, cinder) for server in servers]
    return list(dict.fromkeys(ident.lower() for ident in ids))


def _only(name: str, found: Sequence[NamedServer], nova: Fleet, cinder: CinderApi) -> str:
    # A resize between cells keeps a copy of the server, with its id, in the other cell.
    bearers = {each.id: each for each in found if name in each.names}
    if is_short_id(name):
        meant = short_ids.server(name, bearers, nova, cinder)
        if meant:
            return meant
    if not bearers:
        raise UsageError(
            f"No server is named {harmless(name)} in any cell. A deleted one is found by its id. "
            "Look it up with: openstack server list --all-projects"
        )
    if len(bearers) > 1:
        lines = [
            f"  {each.id}  project {each.project_id}  {each.cell}  {each.vm_state}  {harmless(' / '.join(each.names))}"
            for each in bearers.values()
        ]
        raise UsageError("\n".join([f"{len(bearers)} servers are named {harmless(name)}. Name one by its id:", *lines]))
    return next(iter(bearers))


def require_known(judged: Sequence[Judged], cinder: Cinder) -> None:
    """Raise UsageError for an id that is no server's: it is a slip of the fingers, not a clean server."""
    for one in judged:
        if not one.is_known:
            raise UsageError(_what_it_is(one.seen.server_id, cinder))


def _what_it_is(ident: str, cinder: Cinder) -> str:
    """Return what the id is, and what to type for it: people have a volume's id from a ticket."""
    if cinder.volume(ident).rows:
        holders = [each.server_id for each in cinder.attachments_of_volume(ident).rows if each.server_id]
        if not holders:
            return (
                f"{ident} is a volume, and no server holds an attachment of it. Look at: openstack volume show {ident}"
            )
        return f"{ident} is a volume, not a server. Server {holders[0]} holds it: dedangle audit --server {holders[0]}"
    for attachment in cinder.attachment(ident).rows:
        of = f"{ident} is the attachment of volume {attachment.volume_id}, not a server."
        return f"{of} It names server {attachment.server_id}: dedangle audit --server {attachment.server_id}"
    return (
        f"No server {ident}: no cell of Nova and no attachment of Cinder knows the id. "
        "Look it up with: openstack server list --all-projects"
    )
