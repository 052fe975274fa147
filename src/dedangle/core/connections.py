# SPDX-License-Identifier: Apache-2.0
"""A connection in the form in which Nova keeps it in `block_device_mapping.connection_info`; a secret throughout."""

from __future__ import annotations

from typing import Any


def from_attachment(attachment: dict[str, Any], volume_id: str, *, multiattach: bool) -> dict[str, Any]:
    """Return an attachment of Cinder's API as Nova keeps it (nova volume/cinder.py:_translate_attachment_ref)."""
    rest = {name: value for name, value in attachment.items() if name not in ("id", "attach_mode", "connection_info")}
    data = {name: value for name, value in attachment["connection_info"].items() if name != "attachment_id"}
    info = {"driver_volume_type": data.pop("driver_volume_type", None), "data": data, **rest, "serial": volume_id}
    return {**info, "multiattach": True} if multiattach else info


def renewed(kept: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return the new connection with what the host found out about the same device when it connected it."""
    return {**kept, **new, "data": {**kept.get("data", {}), **new["data"]}}
