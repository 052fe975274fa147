# SPDX-License-Identifier: Apache-2.0
"""One changing run at a time on this machine; it only saves work, correctness comes from compare-and-swap."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path


class AnotherRunError(Exception):
    """Another run holds the lock; the message names it."""


@contextlib.contextmanager
def exclusive(state_dir: Path) -> Iterator[None]:
    """Hold `lock` in the state directory; the kernel lets go of it however the process ends.

    Raises AnotherRunError at once where another process holds it, OSError where it cannot be made.
    """
    state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    path = state_dir / "lock"
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AnotherRunError(f"Another run of dedangle holds {path}. Wait for it to end.") from error
        yield
