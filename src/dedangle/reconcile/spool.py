# SPDX-License-Identifier: Apache-2.0
"""Keep millions of rows in a temporary file, and read them back part by part."""

from __future__ import annotations

import contextlib
import struct
import tempfile
from typing import IO

PARTS = 64
# A smaller spool stays in memory.
_BUFFER = 2 * 1024 * 1024


class NoRoomError(Exception):
    """The temporary directory is full or cannot be written."""


class Spool:
    """Rows of `width` bytes. Rows with the same byte at position `by` are in the same part.

    Ids are random, so all parts have about the same size.
    """

    def __init__(self, width: int, files: contextlib.ExitStack, by: int = 0) -> None:
        """Create the spool; its temporary file, if it needs one, is removed when `files` is closed."""
        self._row, self._by, self._files = struct.Struct(f"{width}s"), by, files
        self._parts = [bytearray() for _ in range(PARTS)]
        self._buffered = 0
        self._file: IO[bytes] | None = None
        self._written: list[list[tuple[int, int]]] = [[] for _ in range(PARTS)]

    def add(self, rows: bytes) -> None:
        """Add rows; raise NoRoomError if the temporary file cannot be written."""
        parts = self._parts
        for byte, (row,) in zip(rows[self._by :: self._row.size], self._row.iter_unpack(rows), strict=True):
            parts[byte % PARTS] += row
        self._buffered += len(rows)
        if self._buffered >= _BUFFER:
            try:
                self._write()
            except OSError as error:
                # gettempdir() would search for a directory again and raise.
                place = tempfile.tempdir or "any temporary directory"
                raise NoRoomError(
                    f"the rows cannot be written to {place} ({error.strerror}); set TMPDIR to a directory with space"
                ) from error

    def part(self, number: int) -> list[bytes]:
        """Return the rows of one part, in no order; rows that were added twice are in it twice."""
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
