# SPDX-License-Identifier: Apache-2.0
"""A host disconnects an attachment of a server that is on another host, which has claimed the server meanwhile."""

from __future__ import annotations

import time
from typing import Any

from nova import objects
from oslo_log import log as logging

from dedangle.compute import lease, teardown
from dedangle.compute.budget import Budget
from dedangle.core import connections
from dedangle.core.records import Reading, Refusal
from dedangle.systems import guests
from dedangle.systems.cinder.api import CinderApi

LOG = logging.getLogger(__name__)


def release(
    manager: Any,
    context: Any,
    cinder: CinderApi,
    budget: Budget,
    *,
    server_id: str,
    volume_id: str,
    attachment_id: str,
    deadline: float,
) -> Refusal | None:
    """Disconnect the volume from this host, by Cinder's connection of the attachment; return why it may remain.

    The deadline is in seconds since 1970 by the caller's clock. After it nothing is done.
    """
    if time.time() > deadline:
        return Refusal(f"host {manager.host} received the request too late, or its clock differs")
    disks = guests.disks(manager.driver, server_id)
    if not disks.complete:
        return Refusal(disks.why)
    if any(disk.volume_id == volume_id or not disk.is_recognised for disk in disks.rows):
        return Refusal(f"the guest of the server on host {manager.host} has the disk")
    found = cinder.attachment(attachment_id)
    if not found.rows:
        return Refusal(found.why or f"Cinder does not have attachment {attachment_id} any more")
    if not found.rows[0].has_connection_info:
        return None
    connected = cinder.connection(attachment_id)
    if not connected.rows:
        return Refusal(connected.why)
    multiattach = any(volume.multiattach for volume in cinder.volume(volume_id).rows)
    connection_info = connections.from_attachment(connected.rows[0], volume_id, multiattach=multiattach)
    refusal = lease.check(context, manager.driver, manager.host, server_id, None, connection_info)
    if refusal:
        return refusal
    encryption = _encryption(cinder, volume_id, connection_info)
    if not encryption.rows:
        return Refusal(f"the encryption of the volume could not be read: {encryption.why}")
    instance = objects.Instance.get_by_uuid(context, server_id)
    failed = teardown.attempt(
        budget, context, manager.driver, instance, connection_info, encryption.rows[0], guest_is_off=False
    )
    if failed:
        return Refusal(f"host {manager.host}: {failed}")
    LOG.info("Disconnected volume %s, which the server has left here", volume_id, instance=instance)
    return None


def _encryption(cinder: CinderApi, volume_id: str, connection_info: dict[str, Any]) -> Reading[dict[str, Any]]:
    """Return what the driver needs to close the volume: nothing of one that is not encrypted."""
    return cinder.encryption(volume_id) if connection_info["data"].get("encrypted") else Reading(({},))
