# SPDX-License-Identifier: Apache-2.0
"""Show the progress of a run, its rate, and the time left."""

from __future__ import annotations

from collections.abc import Callable

from dedangle.cli import console

_EVERY = 500
# In the first seconds the rate is much too high, because suspects are read together and the first of them end at once.
_SETTLED = 3.0


class Progress:
    """On a terminal, one line that is updated; elsewhere lines for each step, every 500 servers and the last."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._step = ""
        self._begun = 0.0

    def __call__(self, what: str, done: int = 0, total: int = 0) -> None:
        now = self._monotonic()
        if what != self._step:
            self._step, self._begun = what, now
        line = f"{what}{f' {done}/{total}' if total else ''}{_pace(done, total, now - self._begun)} ..."
        if console.is_terminal():
            console.show(line)
        elif done <= 1 or done % _EVERY == 0 or done == total:
            console.complain(line)


def _pace(done: int, total: int, elapsed: float) -> str:
    # The first call marks the start of the step, so the rate counts only the calls after it.
    if done < 2 or elapsed < _SETTLED:
        return ""
    rate = (done - 1) / elapsed
    minutes, seconds = divmod(round((total - done) / rate), 60)
    return f", {rate:.1f}/s, {minutes} min {seconds} s left"
