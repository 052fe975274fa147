# SPDX-License-Identifier: Apache-2.0
"""The journal: append-only JSON lines with each intended change, on disk before the change, and its outcome."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import functools
import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from dedangle.core import times
from dedangle.core.decisions import Door, Finding, Outcome, Remedy, Result
from dedangle.core.records import BlockDeviceMapping
from dedangle.core.rows import FIELDS, finding_row, plain_row

NAME = "journal.jsonl"
# About ten thousand changes: a file of this size is quick to read, and most clouds fill only a few.
_MAX_BYTES = 16 * 1024 * 1024


class JournalUnwritableError(Exception):
    """The intent could not be written, so nothing was changed. The message has the file and the reason."""


class Journal:
    """Appends to `journal.jsonl` in the state directory; several processes and threads may append at the same time.

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
        """Write that a server will be changed. This proves that the journal works before the guest is stopped."""
        self._append({"phase": "begin", "server_id": server_id})

    def intend(self, finding: Finding) -> str:
        """Write the intended change with all non-secret fields of the row, and return the id of the entry.

        Raises JournalUnwritableError if that fails; the change must then not be made.
        """
        row = plain_row(finding.mapping or finding.attachment or finding.volume)
        project_name = self._project_names.get(finding.project_id or "")
        return self._intend({**finding_row(finding), "project_name": project_name, "row": row})

    def intend_undo(self, undone: Entry, row: BlockDeviceMapping, reason: str, evidence: Sequence[str]) -> str:
        """Write, as intend does, that the mapping of an entry will be restored; return the id of the new entry."""
        kept = {name: undone.intent.get(name) for name in (*FIELDS, "project_name")}
        now = {"remedy": Remedy.RESTORE_MAPPING.value, "reason": reason, "evidence": list(evidence), "cell": row.cell}
        return self._intend({**kept, **now, "undoes": undone.id, "row": plain_row(row)})

    def _intend(self, fields: dict[str, Any]) -> str:
        entry = f"{self._run_id}-{next(self._numbers)}"
        self._append({"entry": entry, "phase": "intent", **fields})
        return entry

    def conclude(self, entry: str, outcome: Outcome) -> None:
        """Write the outcome of the entry; raise JournalUnwritableError if that fails."""
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
    """One change in the journal: its intent and its outcome. One of them is empty if its line is lost."""

    id: str
    intent: dict[str, Any] = dataclasses.field(default_factory=dict)
    outcome: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Also empty if the run ended after the intent: the change may have been made or not."""

    @property
    def at(self) -> datetime:
        return times.parse((self.intent or self.outcome)["at"])


@dataclasses.dataclass(frozen=True)
class History:
    """All entries of the files of a journal, in the order in which they were written."""

    entries: tuple[Entry, ...] = ()
    unreadable: tuple[str, ...] = ()
    """File and line number of each line that is not an entry."""

    @property
    def known_servers(self) -> frozenset[str]:
        """The servers that Nova knew when they were changed. Only Nova has the project of a server."""
        intents = (entry.intent for entry in self.entries)
        return frozenset(str(each["server_id"]) for each in intents if each.get("server_id") and each.get("project_id"))

    @functools.cached_property
    def undone_by(self) -> dict[str, str]:
        """The id of the entry that undid an entry, by the id of the latter. An undo that failed is not one."""
        done = (each for each in self.entries if each.outcome.get("outcome") == Result.RESTORED)
        return {str(each.intent["undoes"]): each.id for each in done if each.intent.get("undoes")}


def read(path: Path) -> History:
    """Return the entries of a journal and of its renamed files; raise FileNotFoundError if there is none, OSError."""
    # The newest file first: a file that is renamed meanwhile is then read twice, which is harmless, and not missed.
    texts = {path: _text(path)} if path.exists() else {}
    texts = {each: _text(each) for each in _rotated(path)} | texts
    if not texts:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    intents: dict[str, dict[str, Any]] = {}
    outcomes: dict[str, dict[str, Any]] = {}
    unreadable = []
    for file, text in texts.items():
        *lines, tail = text.split(b"\n")
        # A line that a crash left incomplete had no effect, and the next write removes it.
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
    """Return the renamed files of the journal, the oldest first."""
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
    """Open the journal and lock it; try again if another process renamed the file during the wait for the lock."""
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
    """Remove a last line that a crash left incomplete, so that the next line is readable; return the size in bytes."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        text = os.pread(descriptor, size, 0)
        size = text.rfind(b"\n") + 1
        if _parsed(text[size:]):
            # The line is complete and only its newline is missing, for example after an edit.
            os.write(descriptor, b"\n")
            return len(text) + 1
        os.ftruncate(descriptor, size)
    return size


def _write(descriptor: int, line: bytes) -> None:
    while line:
        line = line[os.write(descriptor, line) :]


def _sync_directory(path: Path) -> None:
    """Sync the directory, so that the name of a new file survives a crash too."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
