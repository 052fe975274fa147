# SPDX-License-Identifier: Apache-2.0
"""Seconds that may be spent, and what is done within them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class OutOfTimeError(Exception):
    """The deed was not over in time; it goes on in its thread, and nobody asks for its result."""


class Budget:
    """Seconds that may be spent, from now on or from the last restart."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.restart()

    def restart(self) -> None:
        self._deadline = time.monotonic() + self._seconds

    def left(self) -> float:
        return self._deadline - time.monotonic()

    def spend(self, deed: Callable[[], T]) -> T:
        """Do the deed in a thread and return what it returns; raises what it raises, and OutOfTimeError.

        Nova's clients, os-brick and libvirt take their own time: os-brick may wait 300 s three times for each path of
        a dead device. What is given up goes on; os-brick holds its own lock meanwhile, so no new connection meets it.
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
            raise OutOfTimeError(f"it was not done in {self._seconds:.0f} s")
        return returned[0]
