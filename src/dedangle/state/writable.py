# SPDX-License-Identifier: Apache-2.0
"""Check whether a run can write its journal."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from dedangle.core.records import Refusal
from dedangle.state import journal

_PAGE = b"\0" * 4096


def why_unwritable(state_dir: Path) -> Refusal | None:
    """Return why a run could not write in the directory, by writing an unnamed file. The directory is not created."""
    try:
        with tempfile.TemporaryFile(dir=state_dir) as handle:
            handle.write(_PAGE)
            handle.flush()
            os.fsync(handle.fileno())
        path = state_dir / journal.NAME
        if path.exists():
            path.open("ab").close()
    except OSError as error:
        return Refusal(error.strerror or type(error).__name__)
    return None
