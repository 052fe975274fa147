# SPDX-License-Identifier: Apache-2.0
"""The documented exit codes; a caller must treat any other exit code as a failure."""

from __future__ import annotations

from dedangle.core.run import Run

DONE = 0
UNEXPECTED = 1
USAGE = 2
FOUND = 3
REMOVED = 4
INCOMPLETE = 5
FUSE = 6
LOCKED = 7


def exit_code(run: Run, *, detailed: bool) -> int:
    """Return the exit code of a finished run; 3 and 4 mean the same as those of nova-manage placement audit."""
    if run.refusal:
        return FUSE
    if not run.complete:
        return INCOMPLETE
    if detailed and run.left():
        return FOUND
    if detailed and run.removed():
        return REMOVED
    return DONE
