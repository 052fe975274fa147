# SPDX-License-Identifier: Apache-2.0
"""SIGINT and SIGTERM end a run at once, but not between the journal's intent, the write and the outcome."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from dedangle.cli import console


class StoppedError(BaseException):
    """A signal ended the run between two changes. It is no Exception, so that no `except Exception` catches it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum

    @property
    def exit_code(self) -> int:
        return 128 + self.signum


class Signals:
    """The signal handlers of the process; `installed` sets and restores them.

    A signal handler runs in the main thread. Another thread gets StoppedError once, when it starts or ends a shielded
    block. While such threads run, the main thread shields its wait for them.
    """

    def __init__(self) -> None:
        self._pending: int | None = None
        self._mine = _OfThread()

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    @contextlib.contextmanager
    def shield(self, *, even_after_signal: bool = False) -> Iterator[None]:
        """Delay a signal until the block has ended, and then raise StoppedError.

        For a signal that came earlier, StoppedError is raised before the block. With even_after_signal the block still
        runs, because it finishes a change that was started.
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
        self._mine.raised = False
        self._tell()
        # The signal may have interrupted a write to stderr, and then Python raises RuntimeError for a second one.
        with contextlib.suppress(RuntimeError):
            console.complain("Finishing the change in progress, then stopping ...")

    def _tell(self) -> None:
        if self._pending is not None and not self._mine.raised and not self._mine.shields:
            self._mine.raised = True
            raise StoppedError(self._pending)


class _OfThread(threading.local):
    """The number of shielded blocks that this thread is in, and whether it has raised StoppedError."""

    shields = 0
    raised = False
