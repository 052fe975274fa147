# SPDX-License-Identifier: Apache-2.0
"""Which servers the operator means."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dedangle.cli.wiring import UnreachableError, UsageError
from dedangle.core.text import harmless

if TYPE_CHECKING:
    from dedangle.core.records import NamedServer
    from dedangle.reconcile.server import Judged
    from dedangle.systems.ports import Fleet

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def identify(servers: Sequence[str], nova: Fleet) -> list[str]:
    """The ids of servers that are named by id or by name, each once; what looks like an id is never taken for a name.

    Raises UsageError for a name that no live server or more than one has, UnreachableError while a cell is silent: it
    may hold a server of that name.
    """
    names = {server for server in servers if not _ID.fullmatch(server)}
    if not names:
        return list(dict.fromkeys(server.lower() for server in servers))
    found = nova.named(names)
    if not found.complete:
        shown = ", ".join(map(harmless, sorted(names)))
        raise UnreachableError(f"Cannot tell which server is named {shown}: {found.why}. Name it by its id.")
    ids = [server if server not in names else _only(server, found.rows) for server in servers]
    return list(dict.fromkeys(ident.lower() for ident in ids))


def _only(name: str, found: Sequence[NamedServer]) -> str:
    # A resize between cells keeps a copy of the server, with its id, in the other cell.
    bearers = {each.id: each for each in found if name in each.names}
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


def require_known(judged: Sequence[Judged]) -> None:
    """Raise UsageError for a server id that nobody has heard of: it is a slip of the fingers, not a clean server."""
    for each in judged:
        if not each.is_known:
            raise UsageError(
                f"No server {each.seen.server_id}: no cell of Nova and no attachment of Cinder knows the id. "
                "Look it up with: openstack server list --all-projects"
            )
