# SPDX-License-Identifier: Apache-2.0
"""The --connector option: a compute host's connector from a file, where the host cannot be asked for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dedangle.cli.wiring import UsageError

OPTION: dict[str, Any] = {
    "metavar": "FILE",
    "type": Path,
    "help": "output of nova-manage volume_attachment get_connector --json on the server's host",
}


def read(path: Path | None) -> dict[str, Any]:
    """Return the connector, a secret; empty without a path. Raises UsageError if the file holds none."""
    if path is None:
        return {}
    try:
        connector = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"--connector {path} cannot be read: {error}.") from error
    if not isinstance(connector, dict) or not isinstance(connector.get("host"), str):
        raise UsageError(
            f"--connector {path} holds no connector. Make it on the server's host: nova-manage volume_attachment "
            "get_connector --json"
        )
    return connector
