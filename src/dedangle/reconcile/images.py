# SPDX-License-Identifier: Apache-2.0
"""Ask Ceph which clients have the RBD images of a server's volumes open."""

from __future__ import annotations

import dataclasses
from typing import Any

from dedangle.core.observations import CinderView, NovaView
from dedangle.core.records import Reading
from dedangle.systems import ports


@dataclasses.dataclass(frozen=True)
class Images:
    """Finds the image of a volume in a connection, which is a secret, and keeps nothing but its name."""

    _nova: ports.Restoring
    _cinder: ports.Attaching
    _ceph: ports.Ceph

    def watchers(self, nova: NovaView, cinder: CinderView) -> dict[str, Reading[str]]:
        """Return the clients by volume: of volumes in RBD with a lost attachment, or with one that no mapping names."""
        named = {mapping.attachment_id for mapping in nova.mappings}
        lost = {ident for ident, reading in cinder.named.items() if reading.absent}
        connections = {
            mapping.volume_id: self._nova.connection_info(mapping)
            for mapping in nova.mappings
            if mapping.attachment_id in lost and mapping.has_connection_info
        }
        for attachment in cinder.attachments.rows:
            if attachment.id not in named and not attachment.is_reserved:
                connections.setdefault(attachment.volume_id, self._cinder.connection(attachment.id))
        images = {volume_id: _image(row) for volume_id, reading in connections.items() for row in reading.rows}
        return {volume_id: self._ceph.watchers(image) for volume_id, image in images.items() if image}


def _image(connection: dict[str, Any]) -> str:
    """Return the pool and name of the image; empty if the volume is not in RBD."""
    # Nova keeps the address under `data`; Cinder shows it beside the driver's name.
    info = connection.get("connection_info") or connection
    data = info.get("data") or info
    return str(data.get("name") or "") if info.get("driver_volume_type") == "rbd" else ""
