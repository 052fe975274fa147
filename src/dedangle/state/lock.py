# SPDX-License-Identifier: Apache-2.0
"""One changing run at a time on this machine; it only saves work, correctness comes from compare-and-swap."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_POLL = 1.0


class AnotherRunError(Exception):
    """Another run holds the lock; the message names it."""


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
            return True

        await_turn(acquire, str(path), wait)
        yield


def await_turn(
    acquire: Callable[[], bool],
    what: str,
    wait: float,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Try to acquire until `wait` seconds are over; raises AnotherRunError."""
    deadline = monotonic() + wait
    while not acquire():
        left = deadline - monotonic()
        if left <= 0:
            raise AnotherRunError(f"Another run of dedangle holds {what}. Wait for it to end, or use --wait-lock.")
        pause(min(_POLL, left))
