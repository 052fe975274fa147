# SPDX-License-Identifier: Apache-2.0
"""Which servers of the fleet are whose, where several sweeps share it."""

from __future__ import annotations

import dataclasses
import zlib


@dataclasses.dataclass(frozen=True)
class Shard:
    """One of `count` parts of the fleet; index counts from 1."""

    index: int = 1
    count: int = 1

    def holds(self, server_id: str | None) -> bool:
        """Whether the server is in this part, the same on every machine and in every run.

        What has no server is in the first part.
        """
        if server_id is None:
            return self.index == 1
        # Python's own hash() is another one in every process.
        return zlib.crc32(server_id.encode()) % self.count == self.index - 1

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


WHOLE = Shard()
