# SPDX-License-Identifier: Apache-2.0
"""Convert connections to the form of Nova's `block_device_mapping.connection_info`. All of them are secrets."""

from __future__ import annotations

from typing import Any


def from_attachment(attachment: dict[str, Any], volume_id: str, *, multiattach: bool) -> dict[str, Any]:
    """Return an attachment of Cinder's API as Nova stores it (nova volume/cinder.py:_translate_attachment_ref)."""
    rest = {name: value for name, value in attachment.items() if name not in ("id", "attach_mode", "connection_info")}
    data = {name: value for name, value in attachment["connection_info"].items() if name != "attachment_id"}
    info = {"driver_volume_type": data.pop("driver_volume_type", None), "data": data, **rest, "serial": volume_id}
    return {**info, "multiattach": True} if multiattach else info


def renewed(kept: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return the new connection with the fields that the host added when it connected the same device."""
    return {**kept, **new, "data": {**kept.get("data", {}), **new["data"]}}
