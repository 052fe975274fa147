# SPDX-License-Identifier: Apache-2.0
"""Create, connect and take back a new attachment of a volume for a server that has its mapping already."""

from __future__ import annotations

import dataclasses
from typing import Any

from dedangle.core.decisions import Outcome, Result
from dedangle.core.records import Attachment, BlockDeviceMapping, Reading
from dedangle.systems import ports


def reserve(cinder: ports.Attaching, mapping: BlockDeviceMapping, existing: Attachment | None) -> Reading[Attachment]:
    """Return the attachment that exists, or else reserve the volume for the server; unread if Cinder refuses."""
    if existing is not None:
        return Reading((existing,))
    return cinder.create_attachment(mapping.volume_id, mapping.server_id)


def connect(
    cinder: ports.Attaching, attachment: Attachment, mapping: BlockDeviceMapping, connector: dict[str, Any]
) -> Reading[dict[str, Any]]:
    """Connect the attachment through the host of the connector, without completing it; Cinder's answer is a secret."""
    mountpoint = {"mountpoint": mapping.device_name} if mapping.device_name else {}
    return cinder.connect_attachment(attachment.id, {**connector, **mountpoint})


def take_back(cinder: ports.Attaching, attachment: Attachment, outcome: Outcome, *, again_by: str) -> Outcome:
    """Delete an attachment that this run created and does not need; add to the outcome if that failed.

    `again_by` is a clause that says which next run uses or removes the attachment.
    """
    now = cinder.attachment(attachment.id)
    gone = now.complete and all(cinder.delete_attachment(each).result is Result.REMOVED for each in now.rows)
    left = "" if gone else f"; the new attachment {attachment.id} stays in Cinder until {again_by}"
    return dataclasses.replace(outcome, detail=outcome.detail + left)
