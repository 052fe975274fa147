# SPDX-License-Identifier: Apache-2.0
"""The --connector option: a compute host's connector from a file, if the host does not answer dedangle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dedangle.cli.errors import UsageError

OPTION: dict[str, Any] = {
    "metavar": "FILE",
    "type": Path,
    "help": "output of nova-manage volume_attachment get_connector --json on the server's host",
}


def read(path: Path | None) -> dict[str, Any]:
    """Return the connector, which is a secret; empty without a path. Raise UsageError if the file has no connector."""
    if path is None:
        return {}
    try:
        connector = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"--connector {path} cannot be read: {error}.") from error
    if not isinstance(connector, dict) or not isinstance(connector.get("host"), str):
        raise UsageError(
            f"--connector {path} does not contain a connector. Create it on the server's host: nova-manage "
            "volume_attachment get_connector --json"
        )
    return connector
