# SPDX-License-Identifier: Apache-2.0
"""Find the volumes that the operator names, and the servers that have them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dedangle.cli import short_ids
from dedangle.cli.errors import UnreachableError, UsageError
from dedangle.core.decisions import Finding
from dedangle.core.ids import is_id, is_short_id
from dedangle.core.text import harmless

if TYPE_CHECKING:
    from dedangle.systems.cinder.api import CinderApi
    from dedangle.systems.ports import Fleet

OPTION: dict[str, Any] = {
    "metavar": "VOLUME",
    "action": "append",
    "default": [],
    "help": "only this volume, by id, short id or name, on all servers that have it mapped or attached; repeatable",
}

_LOOK_UP = "Look it up with: openstack volume list --all-projects"


def identify(volumes: Sequence[str], nova: Fleet, cinder: CinderApi) -> list[str]:
    """Return the ids of volumes that are given by id, short id or name, each once.

    Raises UsageError if no volume or several volumes have the name, or if a short id is not that of one volume. Raises
    UnreachableError if Cinder or, for a short id, a cell does not answer.
    """
    return list(dict.fromkeys(volume.lower() if is_id(volume) else _named(volume, nova, cinder) for volume in volumes))


def _named(name: str, nova: Fleet, cinder: CinderApi) -> str:
    found = cinder.volumes_named(name)
    if not found.complete:
        raise UnreachableError(f"Cannot find the volume named {harmless(name)}: {found.why}. Use its id.")
    if is_short_id(name):
        meant = short_ids.volume(name, [volume.id for volume in found.rows], nova, cinder)
        if meant:
            return meant
    if not found.rows:
        raise UsageError(f"There is no volume {harmless(name)}. {_what_is_named(name, nova)}")
    if len(found.rows) > 1:
        lines = [f"  {volume.id}  project {volume.project_id}  {volume.status}" for volume in found.rows]
        raise UsageError(
            "\n".join([f"{len(found.rows)} volumes are named {harmless(name)}. Use the id of one of them:", *lines])
        )
    return found.rows[0].id


def servers_of(volume_ids: Sequence[str], cinder: CinderApi, nova: Fleet, among: Sequence[str]) -> list[str]:
    """Return the servers that have or had a mapping of one of the volumes, or have an attachment of it.

    If servers are given in `among`, only those are returned.

    Raises UsageError if neither Nova nor Cinder knows a volume, or if none of the given servers has it. Raises
    UnreachableError if Nova or Cinder does not answer.
    """
    bdms = nova.other_servers_bdms(volume_ids, "")
    if not bdms.complete:
        raise UnreachableError(f"Cannot read which servers map the volume: {bdms.why}. Run again when it answers.")
    found = [bdm.server_id for bdm in bdms.rows]
    for volume_id in volume_ids:
        held = cinder.attachments_of_volume(volume_id)
        if not held.complete:
            raise UnreachableError(f"Cannot read the volume's attachments: {held.why}. Run again when it answers.")
        found += [attachment.server_id for attachment in held.rows if attachment.server_id]
        is_mapped = any(bdm.volume_id == volume_id for bdm in bdms.rows)
        if not held.rows and not is_mapped and cinder.volume(volume_id).absent:
            raise UsageError(_what_it_is(volume_id, cinder, nova))
    holders = list(dict.fromkeys(found))
    chosen = [server_id for server_id in holders if not among or server_id in among]
    if among and not chosen:
        who = f"Servers that have it: {', '.join(holders)}." if holders else "No server has it."
        raise UsageError(f"None of the given servers has volume {', '.join(volume_ids)} mapped or attached. {who}")
    return chosen


def _what_it_is(ident: str, cinder: CinderApi, nova: Fleet) -> str:
    """Return what the id belongs to, and what to type for it; for example a ticket may name a server."""
    if nova.servers([ident]).rows:
        return f"{ident} is a server, not a volume. Run: dedangle audit --server {ident}"
    for attachment in cinder.attachment(ident).rows:
        of = f"{ident} is an attachment of volume {attachment.volume_id}, not a volume."
        return f"{of} Run: dedangle audit --volume {attachment.volume_id}"
    return f"There is no volume {ident}: Cinder does not have it, and no server in Nova maps it. {_LOOK_UP}"


def _what_is_named(name: str, nova: Fleet) -> str:
    for server in nova.named({name}).rows:
        return f"Server {server.id} has this name. Run: dedangle audit --server {server.id}"
    return _LOOK_UP


def concerned(volume_ids: Sequence[str]) -> Callable[[Finding], bool]:
    """Return a function that tests whether a finding is about one of the volumes; always true without volumes."""
    return lambda finding: not volume_ids or finding.volume_id.lower() in volume_ids
