# SPDX-License-Identifier: Apache-2.0
"""What dedangle meant to change and what came of it: append-only JSON lines, on disk before the change is made."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from dedangle.core.records import Door, Finding, Outcome
from dedangle.core.rows import finding_row, plain_row


class JournalUnwritableError(Exception):
    """The intent could not be written, so nothing was changed; the message names the file and why."""


class Journal:
    """Appends to `journal.jsonl` in the state directory; several processes may do so at once."""

    def __init__(self, state_dir: Path, *, run_id: str, door: Door, clock: Callable[[], datetime]) -> None:
        self._path = state_dir / "journal.jsonl"
        self._run_id = run_id
        self._door = door
        self._clock = clock
        self._entries = 0

    def begin(self, server_id: str) -> None:
        """Write down that a server is about to be changed: the proof, before its guest is touched, that we can."""
        self._append({"phase": "begin", "server_id": server_id})

    def intend(self, finding: Finding) -> str:
        """Write down what is about to be done, with the full non-secret image of the row, and return the entry's id.

        Raises JournalUnwritableError; the change must then not be made.
        """
        self._entries += 1
        entry = f"{self._run_id}-{self._entries}"
        image = plain_row(finding.mapping or finding.attachment)
        self._append({"entry": entry, "phase": "intent", **finding_row(finding), "row": image})
        return entry

    def conclude(self, entry: str, outcome: Outcome) -> None:
        """Write down what came of it."""
        self._append(
            {"entry": entry, "phase": "outcome", "outcome": outcome.result.value, "detail": outcome.detail or None}
        )

    def _append(self, fields: dict[str, Any]) -> None:
        stamp = {"at": self._clock().isoformat(), "run_id": self._run_id, "door": self._door.value}
        line = json.dumps({**stamp, **fields}, sort_keys=True).encode() + b"\n"
        try:
            self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o640)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                _write(descriptor, line)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise JournalUnwritableError(f"The journal {self._path} cannot be written: {error.strerror}") from error


def _write(descriptor: int, line: bytes) -> None:
    size = os.fstat(descriptor).st_size
    # A line that a crash tore is closed, so that it spoils no other.
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        line = b"\n" + line
    while line:
        line = line[os.write(descriptor, line) :]
