# SPDX-License-Identifier: Apache-2.0
"""Rows by the million, kept in a temporary file and taken out part by part."""

from __future__ import annotations

import contextlib
import struct
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
        self._row, self._by, self._files = struct.Struct(f"{width}s"), by, files
        self._parts = [bytearray() for _ in range(PARTS)]
        self._buffered = 0
        self._file: IO[bytes] | None = None
        self._written: list[list[tuple[int, int]]] = [[] for _ in range(PARTS)]

    def add(self, rows: bytes) -> None:
        """Keep the rows; raises NoRoomError."""
        parts = self._parts
        for byte, (row,) in zip(rows[self._by :: self._row.size], self._row.iter_unpack(rows), strict=True):
            parts[byte % PARTS] += row
        self._buffered += len(rows)
        if self._buffered >= _BUFFER:
            try:
                self._write()
            except OSError as error:
                # gettempdir() looks for one anew where there was none, and raises.
                place = tempfile.tempdir or "any temporary directory"
                raise NoRoomError(f"what was read cannot be kept in {place} ({error.strerror}); set TMPDIR") from error

    def part(self, number: int) -> list[bytes]:
        """The rows of one part, in no order, with those that were added twice."""
        chunks = [bytes(self._parts[number])]
        for start, length in self._written[number]:
            assert self._file is not None
            self._file.seek(start)
            chunks.append(self._file.read(length))
        return [row for (row,) in self._row.iter_unpack(b"".join(chunks))]

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
