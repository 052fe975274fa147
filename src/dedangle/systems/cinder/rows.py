# SPDX-License-Identifier: Apache-2.0
"""Convert answers of Cinder's API to core records. A field that Cinder hides from a role is unread, not empty."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from dedangle.core import packing, times
from dedangle.core.records import Attachment, Refusal, Volume
from dedangle.core.work import is_quiet

OWNER = "os-vol-tenant-attr:tenant_id"
# The first key depends on its own policy; Cinder shows the second key only to administrators.
_MIGRATION_STATUS = ("os-vol-mig-status-attr:migstat", "migration_status")
_CLUSTER = "cinder.csi.openstack.org/cluster"
_NAMESPACE, _CLAIM = "csi.storage.k8s.io/pvc/namespace", "csi.storage.k8s.io/pvc/name"
IMAGE = ("image_id", "image_name")
_CONSUMERS = {"glance_image_id": "glance", "image_owner": "glance"}


class HiddenError(Exception):
    """Cinder hides a field that dedangle needs. The message has the field and the policy that must allow it."""


def attachment(row: dict[str, Any]) -> Attachment:
    """Return the attachment; in a list it has no connection_info."""
    return Attachment(
        id=row["id"],
        server_id=row["instance"] or None,
        volume_id=row["volume_id"],
        status=row["status"],
        attached_at=_moment(row.get("attached_at")),
        has_connection_info=bool(row["connection_info"]) if "connection_info" in row else None,
    )


def _moment(text: object) -> datetime | None:
    try:
        return times.parse(str(text))
    except ValueError:
        return None


def attachments_page(page: list[dict[str, Any]]) -> packing.Page:
    """Pack a page of a list of attachments."""
    rows = list(map(attachment, page))
    return packing.Attachments(
        packing.rows_of(((row.id, row.server_id, row.volume_id), packing.status_byte(row.status)) for row in rows)
    )


def volumes_page(page: list[dict[str, Any]]) -> packing.Page:
    """Pack the quiet volumes of a page, without those whose migration status Cinder hides."""
    quiet = (row["id"] for row in page if not why_hidden(row) and is_quiet(volume(row)))
    return packing.QuietVolumes(packing.rows_of(((each,), b"") for each in quiet))


def kept_of_volume(row: dict[str, Any]) -> dict[str, Any]:
    """Return only the fields that volume() and why_hidden() read, and no other metadata of users."""
    names = ("id", "status", OWNER, *_MIGRATION_STATUS, "multiattach", "updated_at", "name", "size")
    attachments = [
        {"attachment_id": each.get("attachment_id"), "host_name": each.get("host_name")}
        for each in row.get("attachments", [])
    ]
    image = row.get("volume_image_metadata") or {}
    return {
        **{name: row[name] for name in names if name in row},
        "attachments": attachments,
        "metadata": {key: value for key, value in row.get("metadata", {}).items() if is_read_of_metadata(key)},
        "volume_image_metadata": {key: image[key] for key in IMAGE if key in image},
    }


def is_read_of_metadata(key: str) -> bool:
    """Whether dedangle reads the key of a volume's metadata."""
    return key in _CONSUMERS or key in (_CLUSTER, _NAMESPACE, _CLAIM) or key.startswith("ironic_node_")


def volume(row: dict[str, Any]) -> Volume:
    """Return the volume; raise HiddenError if Cinder hides a field that dedangle needs."""
    hidden = why_hidden(row)
    if hidden:
        raise HiddenError(hidden.why)
    metadata = row.get("metadata", {})
    consumers = [name for key, name in _CONSUMERS.items() if key in metadata]
    consumers += ["ironic" for key in metadata if key.startswith("ironic_node_")]
    return Volume(
        id=row["id"],
        status=row["status"],
        project_id=row.get(OWNER),
        migration_status=next(row[key] for key in _MIGRATION_STATUS if key in row),
        multiattach=bool(row.get("multiattach")),
        hosts=tuple(
            (each["attachment_id"], each["host_name"]) for each in row.get("attachments", []) if each.get("host_name")
        ),
        updated_at=_moment(row.get("updated_at")),
        consumer=next(iter(consumers), None),
        name=row.get("name") or None,
        size=row.get("size"),
        origin=_origin(metadata, row.get("volume_image_metadata") or {}),
    )


def _origin(metadata: Mapping[str, str], image: Mapping[str, str]) -> str | None:
    """Return what the volume is for: a claim of Kubernetes, as cinder-csi-plugin writes it, or an image."""
    claim = "/".join(metadata[key] for key in (_NAMESPACE, _CLAIM) if key in metadata)
    if claim or _CLUSTER in metadata:
        cluster = f"cluster {metadata[_CLUSTER]}" if _CLUSTER in metadata else "an unnamed cluster"
        return f"is of Kubernetes {cluster}" + (f", claim {claim}" if claim else "")
    if "image_id" in image:
        return f"is made of image {image.get('image_name') or ''} ({image['image_id']})".replace("  ", " ")
    return None


def why_hidden(row: dict[str, Any]) -> Refusal | None:
    """Return which field of a volume Cinder hides from the role of the credentials.

    In every release from 22.0 to 29.0 the host names of attachments are None for everybody except administrators (and
    services since 28.0), and only administrators see the key migration_status (cinder/api/v3/views/volumes.py, before
    28.0 cinder/api/v2/views/volumes.py).
    """
    shown = [key for key in _MIGRATION_STATUS if key in row]
    if not shown:
        return Refusal(
            f"Cinder hides the migration status of volume {row['id']} ({_MIGRATION_STATUS[0]}) from the role of these "
            "credentials. Allow it in Cinder's policy volume_extension:volume_mig_status_attribute"
        )
    is_administrator = "migration_status" in row
    if not is_administrator and any(each.get("host_name") is None for each in row.get("attachments", [])):
        return Refusal(
            f"Cinder hides the hosts of the attachments of volume {row['id']} from the role of these credentials. "
            "Use a role that Cinder's policy context_is_admin allows"
        )
    return None
