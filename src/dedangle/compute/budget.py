# SPDX-License-Identifier: Apache-2.0
"""A time budget in seconds, and calls that must end within it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class OutOfTimeError(Exception):
    """The call did not end in time. It continues in its thread, and its result is ignored."""


class Budget:
    """A number of seconds that may be spent, from now or from the last restart."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.restart()

    def restart(self) -> None:
        self._deadline = time.monotonic() + self._seconds

    def left(self) -> float:
        return self._deadline - time.monotonic()

    def spend(self, deed: Callable[[], T]) -> T:
        """Call the deed in a thread and return its result; raise its exception, or OutOfTimeError.

        Nova's clients, os-brick and libvirt have their own timeouts: os-brick may wait 300 s three times for each path
        of a dead device. After a timeout the call continues. os-brick then still holds its lock, so that no new
        connection conflicts with it.
        """
        returned: list[T] = []
        raised: list[Exception] = []

        def run() -> None:
            try:
                returned.append(deed())
            except Exception as error:  # noqa: BLE001  # raised again where it is awaited
                raised.append(error)

        thread = threading.Thread(target=run, name="dedangle", daemon=True)
        thread.start()
        thread.join(max(self.left(), 0.1))
        if raised:
            raise raised[0]
        if not returned:
            raise OutOfTimeError(f"it did not end within {self._seconds:.0f} s")
        return returned[0]
