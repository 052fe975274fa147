# SPDX-License-Identifier: Apache-2.0
"""Whether a run could write down what it means to do."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from dedangle.core.records import Refusal
from dedangle.state import journal

_PAGE = b"\0" * 4096


def why_unwritable(state_dir: Path) -> Refusal | None:
    """Write a page into a file without a name, and return why that failed; a directory that is missing is not made."""
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
