# SPDX-License-Identifier: Apache-2.0
"""One changing run at a time on this machine; it only saves work, correctness comes from compare-and-swap."""

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
    """Another run holds the lock; the message names it."""

    def __init__(self, what: str, since: datetime | None = None) -> None:
        """Since is when the other run took the lock, None where the lock does not tell."""
        began = f" since {utc(since)}" if since else ""
        super().__init__(f"Another run of dedangle holds {what}{began}. Wait for it to end, or use --wait-lock.")
        self.since = since


@contextlib.contextmanager
def exclusive(state_dir: Path, name: str = "lock", *, wait: float = 0) -> Iterator[None]:
    """Hold the file `name` in the state directory; the kernel lets go of it however the process ends.

    Raises AnotherRunError where another process still holds it after `wait` seconds, OSError where it cannot be made.
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
            # Of a run that has taken it in this moment it is the time of the run before.
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
    """Try to acquire until `wait` seconds are over; whether it was."""
    deadline = monotonic() + wait
    while not acquire():
        left = deadline - monotonic()
        if left <= 0:
            return False
        pause(min(_POLL, left))
    return True
