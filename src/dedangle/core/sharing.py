# SPDX-License-Identifier: Apache-2.0
"""Questions about other users of a pair's volume: other attachments, other servers, the server's boot."""

from __future__ import annotations

from collections.abc import Iterable

from dedangle.core.pair import Pair
from dedangle.core.pairing import is_root_device, may_be_in_use
from dedangle.core.records import Attachment, BlockDeviceMapping, Volume


def connected_beside(pair: Pair, volume: Volume | None, own: Attachment | None) -> Attachment | None:
    """Return the only other attachment that is connected on the server's host, if no mapping names it.

    Returns None if it is not known of one of the others where it is connected.
    """
    server = pair.server_state.server
    candidates = [each for each in pair.attachments if each is not own and not each.is_reserved]
    hosts = {each.id: volume.host_of(each.id) if volume else None for each in candidates}
    if server is None or None in hosts.values():
        return None
    here = [each for each in candidates if server.host in (None, hosts[each.id])]
    if len(here) != 1 or here[0].status != "attached":
        return None
    (found,) = here
    is_free = found.id in pair.server_state.unmapped and not is_named_by_other_server(pair, found)
    return found if is_free else None


def is_named_by_other_server(pair: Pair, attachment: Attachment) -> bool:
    return any(bdm.attachment_id == attachment.id for bdm in pair.other_servers_bdms.rows)


def may_share_host(
    pair: Pair,
    volume: Volume | None,
    host: str | None,
    except_server: Attachment | None,
    own: Iterable[Attachment] | None = None,
) -> bool:
    """Whether somebody else may use the volume through the host.

    Many backends have one export for each (volume, host), so the end of one connection can unplug another. If Cinder
    does not return a host, it may be the same host. `own` are the attachments of the server that may be in use, all by
    default.
    """
    connected = [
        attachment
        for attachment in (*pair.others.rows, *(pair.attachments if own is None else own))
        if attachment != except_server and may_be_in_use(attachment)
    ]
    hosts = [volume.host_of(attachment.id) if volume else None for attachment in connected]
    listed = {attachment.id for attachment in connected}
    hosts += [None for bdm in pair.other_servers_bdms.rows if bdm.is_connected and bdm.attachment_id not in listed]
    return any(not host or not other or host == other for other in hosts)


def is_root(pair: Pair, mapping: BlockDeviceMapping) -> bool:
    server = pair.server_state.server
    if is_root_device(mapping, server):
        return True
    return server is not None and pair.server_state.only_volume == mapping.volume_id and not server.image_ref
