# SPDX-License-Identifier: Apache-2.0
"""Split the servers of a cloud between several sweeps."""

from __future__ import annotations

import dataclasses
import zlib


@dataclasses.dataclass(frozen=True)
class Shard:
    """One of `count` parts of the cloud; `index` starts at 1."""

    index: int = 1
    count: int = 1

    def holds(self, server_id: str | None) -> bool:
        """Whether the server is in this part. The answer is the same on every machine and in every run.

        Rows without a server are in the first part.
        """
        if server_id is None:
            return self.index == 1
        # Python's own hash() differs in every process.
        return zlib.crc32(server_id.encode()) % self.count == self.index - 1

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


WHOLE = Shard()
