# SPDX-License-Identifier: Apache-2.0
"""Which servers a run has stopped and not seen started again, so that the run after a crash can start them."""

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
        """Write down, before it is done, that the server is stopped; on disk when it returns. Raises OSError."""
        self._directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        (self._directory / server_id).touch()
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def forget(self, server_id: str) -> None:
        """The server runs again, or is somebody else's business by now. Raises OSError."""
        (self._directory / server_id).unlink(missing_ok=True)
