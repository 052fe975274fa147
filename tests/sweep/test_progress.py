# SPDX-License-Identifier: Apache-2.0
"""How far a run is: one changing line on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

import pytest

from dedangle.cli import console
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
    # The pace of less than three seconds is left out.
    assert lines[7] == "Judging servers 6/242 ..."
    assert lines[8] == "Judging servers 7/242, 2.0/s, 1 min 58 s left ..."
    assert lines[-1] == "Cleaning servers 1/2 ..."


def test_a_log_gets_a_line_for_each_step_for_every_500_servers_and_for_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert told(monkeypatch, terminal=False, servers=1100).splitlines() == [
        "Reading Nova's mappings in every cell ...",
        "Judging servers 1/1100 ...",
        "Judging servers 500/1100, 2.0/s, 5 min 0 s left ...",
        "Judging servers 1000/1100, 2.0/s, 0 min 50 s left ...",
        "Judging servers 1100/1100, 2.0/s, 0 min 0 s left ...",
        "Cleaning servers 1/2 ...",
    ]


@pytest.fixture(autouse=True)
def undated(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test sets ends with it."""
    monkeypatch.setattr(console, "_with_time", False)


@pytest.mark.parametrize(("terminal", "is_unattended"), [(False, True), (True, True), (False, False)])
def test_a_log_has_the_time_of_each_message(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, is_unattended: bool
) -> None:
    screen = Screen(terminal)
    monkeypatch.setattr("sys.stderr", screen)
    console.date_messages(is_unattended)
    console.complain("Another run holds the lock.")
    is_dated = re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ Another run", screen.getvalue()) is not None
    assert is_dated is (is_unattended and not terminal)


def test_the_journal_of_systemd_has_the_time_already(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "journal").open("w+") as log:
        status = os.fstat(log.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        monkeypatch.setattr("sys.stderr", log)
        console.date_messages(True)
        console.complain("Another run holds the lock.")
        log.seek(0)
        assert log.read() == "Another run holds the lock.\n"
