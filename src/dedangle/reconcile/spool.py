# SPDX-License-Identifier: Apache-2.0
"""Rows by the million, kept in a temporary file and taken out part by part."""

from __future__ import annotations

import contextlib
import tempfile
from typing import IO

PARTS = 64
# A spool that stays smaller is never written.
_BUFFER = 2 * 1024 * 1024


class NoRoomError(Exception):
    """The temporary directory is full or cannot be written."""


class Spool:
    """Rows of `width` bytes; rows whose bytes at `by` are equal come out in the same part.

    The ids there are random, so the parts are of one size.
    """

    def __init__(self, width: int, files: contextlib.ExitStack, by: int = 0) -> None:
        """The file, if there is any, is closed, and so removed, with files."""
        self._width, self._by, self._files = width, by, files
        self._parts = [bytearray() for _ in range(PARTS)]
        self._buffered = 0
        self._file: IO[bytes] | None = None
        self._written: list[list[tuple[int, int]]] = [[] for _ in range(PARTS)]

    def add(self, rows: bytes) -> None:
        """Keep the rows; raises NoRoomError."""
        width, by, parts = self._width, self._by, self._parts
        for start in range(0, len(rows), width):
            parts[rows[start + by] % PARTS] += rows[start : start + width]
        self._buffered += len(rows)
        if self._buffered >= _BUFFER:
            try:
                self._write()
            except OSError as error:
                place = tempfile.gettempdir()
                raise NoRoomError(f"what was read cannot be kept in {place} ({error.strerror}); set TMPDIR") from error

    def part(self, number: int) -> list[bytes]:
        """The rows of one part, in no order, with those that were added twice."""
        chunks = [bytes(self._parts[number])]
        for start, length in self._written[number]:
            assert self._file is not None
            self._file.seek(start)
            chunks.append(self._file.read(length))
        packed, width = b"".join(chunks), self._width
        return [packed[start : start + width] for start in range(0, len(packed), width)]

    def _write(self) -> None:
        if self._file is None:
            opened = tempfile.TemporaryFile(prefix="dedangle-")  # noqa: SIM115  # closed with files
            self._file = self._files.enter_context(opened)
        end = self._file.seek(0, 2)
        for part, written in zip(self._parts, self._written, strict=True):
            written.append((end, len(part)))
            end += len(part)
        self._file.write(b"".join(self._parts))
        self._file.flush()
        for part in self._parts:
            part.clear()
        self._buffered = 0
