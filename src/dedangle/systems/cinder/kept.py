# SPDX-License-Identifier: Apache-2.0
"""Keep the volumes of a bulk read in temporary files, until it is known which of them belong to suspects."""

from __future__ import annotations

import contextlib
import json
import struct
import tempfile
import threading
import weakref
from collections.abc import Collection, Iterable
from typing import IO, Any

from dedangle.core import packing
from dedangle.core.records import Volume
from dedangle.systems.cinder import rows as cinder_rows

# For each volume: its id, and the offset and length of its row.
_ENTRY = struct.Struct(f"{packing.ID}sQI")
_READ = 10_000 * _ENTRY.size


class KeptVolumes:
    """About 300 bytes for each volume. If they cannot be written, volumes are requested one by one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._index: IO[bytes] | None = None
        self._rows: IO[bytes] | None = None
        self._is_full = False
        self._files = contextlib.ExitStack()
        weakref.finalize(self, self._files.close)

    def add(self, page: Iterable[dict[str, Any]]) -> None:
        """Keep a page of a list. If a volume appears twice, the later row counts."""
        with self._lock:
            if self._is_full:
                return
            try:
                if self._index is None or self._rows is None:
                    self._index, self._rows = self._file(), self._file()
                entries, lines, start = bytearray(), bytearray(), self._rows.seek(0, 2)
                for row in page:
                    line = json.dumps(cinder_rows.kept_of_volume(row)).encode()
                    entries += _ENTRY.pack(packing.pack(row["id"]), start + len(lines), len(line))
                    lines += line
                self._rows.write(lines)
                self._rows.flush()
                self._index.seek(0, 2)
                self._index.write(entries)
                self._index.flush()
            except OSError:
                self._is_full = True

    def _file(self) -> IO[bytes]:
        return self._files.enter_context(tempfile.TemporaryFile(prefix="dedangle-"))

    def find(self, volume_ids: Collection[str]) -> tuple[Volume, ...]:
        """Return those of the volumes that were kept and have no hidden field."""
        wanted = {packing.pack(each): each for each in volume_ids}
        with self._lock:
            if self._index is None or self._rows is None or self._is_full:
                return ()
            places: dict[bytes, tuple[int, int]] = {}
            self._index.seek(0)
            while entries := self._index.read(_READ):
                places.update(
                    (ident, (start, length)) for ident, start, length in _ENTRY.iter_unpack(entries) if ident in wanted
                )
            found = []
            for start, length in sorted(places.values()):
                self._rows.seek(start)
                row = json.loads(self._rows.read(length))
                if not cinder_rows.why_hidden(row):
                    found.append(cinder_rows.volume(row))
            return tuple(found)
