# SPDX-License-Identifier: Apache-2.0
"""As much of Glance as Nova needs to rebuild and rescue servers that boot from volumes: every image exists, empty."""

import json
from collections.abc import Iterable
from typing import Any

from dedangle.lab.faults import answer

EMPTY = {
    "status": "active",
    "container_format": "bare",
    "disk_format": "raw",
    "size": 0,
    "min_disk": 0,
    "min_ram": 0,
    "visibility": "public",
    "protected": False,
    "created_at": "2026-01-01T00:00:00Z",
    "updated_at": "2026-01-01T00:00:00Z",
}
# Without these Nova rescues no server that boots from a volume (nova/compute/api.py:rescue).
RESCUE = {"hw_rescue_bus": "virtio", "hw_rescue_device": "disk"}


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    status = "200 OK"
    body: dict[str, Any]
    match environ["REQUEST_METHOD"], environ["PATH_INFO"].strip("/").split("/"):
        case "GET", ["v2", "schemas", "image"]:
            # What the schema does not name is a property of the image.
            body = {"name": "image", "properties": {name: {} for name in ("id", "name", *EMPTY)}}
        case "GET", ["v2", "images", image]:
            body = {**EMPTY, **RESCUE, "id": image, "name": image}
        case _:
            status, body = "404 Not Found", {"message": "The lab has no images."}
    return answer(start_response, status, "application/json", json.dumps(body).encode())
