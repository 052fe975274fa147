# SPDX-License-Identifier: Apache-2.0
"""How far a run is: one changing line on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import io

import pytest

from dedangle.cli.progress import Progress


class Screen(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def told(monkeypatch: pytest.MonkeyPatch, *, terminal: bool, servers: int) -> str:
    """What is said while each server takes half a second."""
    screen, now = Screen(terminal), [100.0]
    monkeypatch.setattr("sys.stderr", screen)
    progress = Progress(lambda: now[0])
    progress("Reading Nova's mappings in every cell")
    for done in range(1, servers + 1):
        progress("Judging servers", done, servers)
        now[0] += 0.5
    progress("Cleaning servers", 1, 2)
    return screen.getvalue()


def test_a_terminal_shows_the_pace_and_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = told(monkeypatch, terminal=True, servers=242).split("\r\x1b[K")
    assert lines[1:3] == ["Reading Nova's mappings in every cell ...", "Judging servers 1/242 ..."]
    assert lines[3] == "Judging servers 2/242, 2.0/s, 2 min 0 s left ..."
    assert lines[-1] == "Cleaning servers 1/2 ..."


def test_a_log_gets_a_line_for_each_step_and_for_every_500_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, terminal=False, servers=1100).splitlines() == [
        "Reading Nova's mappings in every cell ...",
        "Judging servers 1/1100 ...",
        "Judging servers 500/1100, 2.0/s, 5 min 0 s left ...",
        "Judging servers 1000/1100, 2.0/s, 0 min 50 s left ...",
        "Cleaning servers 1/2 ...",
    ]
