# SPDX-License-Identifier: Apache-2.0
"""A lock for this machine: only one changing run at a time. It only saves work; compare-and-swap gives correctness."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

from dedangle.core.times import utc

_POLL = 1.0


class AnotherRunError(Exception):
    """Another run holds the lock. The message names the lock."""

    def __init__(self, what: str, since: datetime | None = None) -> None:
        """Create the error; `since` is when the other run took the lock, None if that is not known."""
        began = f" since {utc(since)}" if since else ""
        super().__init__(
            f"Another run of dedangle holds {what}{began}. Run again when it has ended, or use --wait-lock."
        )
        self.since = since


@contextlib.contextmanager
def exclusive(state_dir: Path, name: str = "lock", *, wait: float = 0) -> Iterator[None]:
    """Hold the lock of the file `name` in the state directory. The kernel releases it when the process ends.

    Raises AnotherRunError if another process still holds it after `wait` seconds, OSError if it cannot be created.
    """
    state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    path = state_dir / name
    with path.open("a") as handle:

        def acquire() -> bool:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            os.utime(handle.fileno())
            return True

        if not has_turn(acquire, wait):
            # If the other run has taken the lock in this moment, this is still the time of the run before it.
            since = os.fstat(handle.fileno()).st_mtime
            raise AnotherRunError(str(path), datetime.fromtimestamp(since, timezone.utc))
        yield


def has_turn(
    acquire: Callable[[], bool],
    wait: float,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> bool:
    """Try to acquire the lock for `wait` seconds; return whether it was acquired."""
    deadline = monotonic() + wait
    while not acquire():
        left = deadline - monotonic()
        if left <= 0:
            return False
        pause(min(_POLL, left))
    return True
