# SPDX-License-Identifier: Apache-2.0
"""A host disconnects an attachment of a server that is on another host, which has claimed the server meanwhile."""

from __future__ import annotations

import time
from typing import Any

from nova import objects
from oslo_log import log as logging

from dedangle.compute import lease, teardown
from dedangle.compute.budget import Budget, OutOfTimeError
from dedangle.core import connections
from dedangle.core.records import Refusal
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
    return lease.check(context, manager.driver, manager.host, server_id, None, connection_info) or _disconnect(
        manager, context, cinder, budget, server_id, volume_id, connection_info
    )


def _disconnect(
    manager: Any,
    context: Any,
    cinder: CinderApi,
    budget: Budget,
    server_id: str,
    volume_id: str,
    connection_info: dict[str, Any],
) -> Refusal | None:
    encryption: dict[str, Any] = {}
    if connection_info["data"].get("encrypted"):
        answer = cinder.encryption(volume_id)
        if not answer.rows:
            return Refusal(f"the encryption of the volume could not be read: {answer.why}")
        (encryption,) = answer.rows
    instance = objects.Instance.get_by_uuid(context, server_id)
    try:
        budget.spend(
            lambda: teardown.disconnect(
                context, manager.driver, instance, connection_info, encryption, guest_is_off=False
            )
        )
    except OutOfTimeError as error:
        return Refusal(f"the disconnect on host {manager.host} ran out of time: {error}")
    except Exception as error:  # noqa: BLE001  # whatever the driver raises, the connection may be left
        return Refusal(f"the disconnect on host {manager.host} failed ({type(error).__name__})")
    LOG.info("Disconnected volume %s, which the server has left here", volume_id, instance=instance)
    return None
