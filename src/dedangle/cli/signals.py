# SPDX-License-Identifier: Apache-2.0
"""SIGINT and SIGTERM end a run at once, but never between an intent, its write and its outcome."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class StoppedError(BaseException):
    """A signal ended the run at a safe boundary; no `except Exception` takes it for a fault."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum

    @property
    def exit_code(self) -> int:
        return 128 + self.signum


class Signals:
    """Installed for the process while it is entered."""

    def __init__(self) -> None:
        self._shields = 0
        self._pending: int | None = None

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        before = {each: signal.signal(each, self._handle) for each in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    @contextlib.contextmanager
    def shield(self) -> Iterator[None]:
        """Hold a signal back until the block has ended; then raises StoppedError for it."""
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1
        if self._pending is not None and not self._shields:
            raise StoppedError(self._pending)

    def _handle(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signal module's signature
        if self._shields:
            self._pending = signum
        else:
            raise StoppedError(signum)
