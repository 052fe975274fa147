# SPDX-License-Identifier: Apache-2.0
"""The servers that a run has stopped and not started again, so that the next run can start them after a crash."""

from __future__ import annotations

import os
from pathlib import Path


class StoppedServers:
    """One empty file for each server, in `stopped` of the state directory."""

    def __init__(self, state_dir: Path) -> None:
        self._directory = state_dir / "stopped"

    def __contains__(self, server_id: str) -> bool:
        return (self._directory / server_id).exists()

    def remember(self, server_id: str) -> None:
        """Store, before the stop, that the server is stopped. It is on disk when this returns; raise OSError."""
        self._directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        (self._directory / server_id).touch()
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def forget(self, server_id: str) -> None:
        """Drop the server, because it runs again or somebody else has changed it; raise OSError."""
        (self._directory / server_id).unlink(missing_ok=True)
