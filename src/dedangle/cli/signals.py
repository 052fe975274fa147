# SPDX-License-Identifier: Apache-2.0
"""SIGINT and SIGTERM end a run at once, but never between an intent, its write and its outcome."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from dedangle.cli import console


class StoppedError(BaseException):
    """A signal ended the run at a safe boundary; no `except Exception` takes it for a fault."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum

    @property
    def exit_code(self) -> int:
        return 128 + self.signum


class Signals:
    """Installed for the process while it is entered.

    A signal's handler runs in the main thread. Another thread is told where it begins or ends what is shielded, and
    once. While there are such threads the main one shields its wait for them.
    """

    def __init__(self) -> None:
        self._pending: int | None = None
        self._mine = _OfThread()

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        before = {each: signal.signal(each, self._handle) for each in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    @contextlib.contextmanager
    def shield(self, *, even_after_signal: bool = False) -> Iterator[None]:
        """Hold a signal back until the block has ended; then raises StoppedError for it.

        One that has come already is raised before the block, unless the block ends what was begun.
        """
        if not even_after_signal:
            self._tell()
        self._mine.shields += 1
        try:
            yield
        finally:
            self._mine.shields -= 1
        self._tell()

    def _handle(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signal module's signature
        self._pending = signum
        self._mine.told = False
        self._tell()
        # It may have come in the middle of a line of our own.
        with contextlib.suppress(RuntimeError):
            console.complain("Finishing the change in progress, then stopping ...")

    def _tell(self) -> None:
        if self._pending is not None and not self._mine.told and not self._mine.shields:
            self._mine.told = True
            raise StoppedError(self._pending)


class _OfThread(threading.local):
    """How many shields this thread is in, and whether it was told of the signal."""

    shields = 0
    told = False
