# SPDX-License-Identifier: Apache-2.0
"""What dedangle meant to change and what came of it: append-only JSON lines, on disk before the change is made."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from dedangle.core import times
from dedangle.core.decisions import Door, Finding, Outcome, Remedy
from dedangle.core.records import BlockDeviceMapping
from dedangle.core.rows import FIELDS, finding_row, plain_row

NAME = "journal.jsonl"
# Some ten thousand changes: one file stays quick to read, and a cloud fills a few in its life.
_MAX_BYTES = 16 * 1024 * 1024


class JournalUnwritableError(Exception):
    """The intent could not be written, so nothing was changed; the message names the file and why."""


class Journal:
    """Appends to `journal.jsonl` in the state directory; several processes and threads may do so at once.

    A file that would grow beyond max_bytes is first renamed to `journal.jsonl.N`, N one more than the last; such a file
    is never written or renamed again. project_names are by id, for people.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        run_id: str,
        door: Door,
        clock: Callable[[], datetime],
        project_names: Mapping[str, str] | None = None,
        max_bytes: int = _MAX_BYTES,
    ) -> None:
        self._path = state_dir / NAME
        self._run_id = run_id
        self._door = door
        self._clock = clock
        self._project_names = project_names or {}
        self._max_bytes = max_bytes
        self._numbers = itertools.count(1)

    def begin(self, server_id: str) -> None:
        """Write down that a server is about to be changed: the proof, before its guest is touched, that we can."""
        self._append({"phase": "begin", "server_id": server_id})

    def intend(self, finding: Finding) -> str:
        """Write down what is about to be done, with the full non-secret image of the row, and return the entry's id.

        Raises JournalUnwritableError; the change must then not be made.
        """
        row = plain_row(finding.mapping or finding.attachment or finding.volume)
        project_name = self._project_names.get(finding.project_id or "")
        return self._intend({**finding_row(finding), "project_name": project_name, "row": row})

    def intend_undo(self, undone: Entry, row: BlockDeviceMapping, reason: str, evidence: Sequence[str]) -> str:
        """Write down, as intend does, that the mapping that an entry removed is about to be restored."""
        kept = {name: undone.intent.get(name) for name in (*FIELDS, "project_name")}
        now = {"remedy": Remedy.RESTORE_MAPPING.value, "reason": reason, "evidence": list(evidence), "cell": row.cell}
        return self._intend({**kept, **now, "undoes": undone.id, "row": plain_row(row)})

    def _intend(self, fields: dict[str, Any]) -> str:
        entry = f"{self._run_id}-{next(self._numbers)}"
        self._append({"entry": entry, "phase": "intent", **fields})
        return entry

    def conclude(self, entry: str, outcome: Outcome) -> None:
        """Write down what came of it."""
        self._append(
            {"entry": entry, "phase": "outcome", "outcome": outcome.result.value, "detail": outcome.detail or None}
        )

    def _append(self, fields: dict[str, Any]) -> None:
        stamp = {"at": times.exact(self._clock()), "run_id": self._run_id, "door": self._door.value}
        line = json.dumps({**stamp, **fields}, sort_keys=True).encode() + b"\n"
        try:
            self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            _append(self._path, line, self._max_bytes)
        except OSError as error:
            raise JournalUnwritableError(f"The journal {self._path} cannot be written: {error.strerror}") from error


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One change as the journal tells it; a line that was lost leaves its half empty."""

    id: str
    intent: dict[str, Any] = dataclasses.field(default_factory=dict)
    outcome: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Empty too where the run ended between the intent and the outcome: the change may have been made or not."""

    @property
    def at(self) -> datetime:
        return times.parse((self.intent or self.outcome)["at"])


@dataclasses.dataclass(frozen=True)
class History:
    """All that the files of a journal tell, in the order in which it was written."""

    entries: tuple[Entry, ...] = ()
    unreadable: tuple[str, ...] = ()
    """File and line number of each line that is none of ours."""


def read(path: Path) -> History:
    """Read a journal and the files that it was renamed to; raises OSError, FileNotFoundError where there is none."""
    # The youngest first: what is renamed meanwhile is then read twice, which changes nothing, and not missed.
    texts = {path: _text(path)} if path.exists() else {}
    texts = {each: _text(each) for each in _rotated(path)} | texts
    if not texts:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    intents: dict[str, dict[str, Any]] = {}
    outcomes: dict[str, dict[str, Any]] = {}
    unreadable = []
    for file, text in texts.items():
        *lines, tail = text.split(b"\n")
        # What a crash tore was never acted upon, and the next write cuts it off.
        lines += [tail] if _parsed(tail) else []
        for number, line in enumerate(lines, 1):
            fields = _parsed(line)
            if fields is None:
                unreadable.append(f"{file}, line {number}")
            elif fields["phase"] == "intent":
                intents[fields["entry"]] = fields
            elif fields["phase"] == "outcome":
                outcomes[fields["entry"]] = fields
    entries = (
        Entry(id=entry, intent=intents.get(entry, {}), outcome=outcomes.get(entry, {}))
        for entry in dict.fromkeys((*intents, *outcomes))
    )
    return History(tuple(entries), tuple(unreadable))


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        fields = json.loads(line)
        match fields:
            case {"at": str(at), "phase": "begin"} | {"at": str(at), "phase": "intent" | "outcome", "entry": str()}:
                times.parse(at)
                return dict(fields)
    except (ValueError, RecursionError):
        pass
    return None


def _text(path: Path) -> bytes:
    with path.open("rb") as handle:
        fcntl.flock(handle, fcntl.LOCK_SH)
        return handle.read()


def _rotated(path: Path) -> list[Path]:
    """The files that the journal was renamed to, oldest first."""
    found = [each for each in path.parent.glob(f"{path.name}.*") if each.suffix[1:].isdecimal()]
    return sorted(found, key=_number)


def _number(rotated: Path) -> int:
    return int(rotated.suffix[1:])


def _append(path: Path, line: bytes, max_bytes: int) -> None:
    while True:
        with _locked(path) as descriptor:
            size = _repair(descriptor)
            if not size or size + len(line) <= max_bytes:
                _write(descriptor, line)
                os.fsync(descriptor)
                if not size:
                    _sync_directory(path.parent)
                return
            last = max(map(_number, _rotated(path)), default=0)
            path.rename(path.with_name(f"{path.name}.{last + 1}"))


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Open the journal and lock it; while we waited for the lock another process may have renamed the file."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o640)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_at(path, descriptor):
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _repair(descriptor: int) -> int:
    """Cut off a last line that a crash tore, so that it spoils no other, and return the size in bytes."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        text = os.pread(descriptor, size, 0)
        size = text.rfind(b"\n") + 1
        if _parsed(text[size:]):
            # Whole but for its end, as an editor leaves it.
            os.write(descriptor, b"\n")
            return len(text) + 1
        os.ftruncate(descriptor, size)
    return size


def _write(descriptor: int, line: bytes) -> None:
    while line:
        line = line[os.write(descriptor, line) :]


def _sync_directory(path: Path) -> None:
    """Make a new file's name survive a crash, as fsync does its contents."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
