# SPDX-License-Identifier: Apache-2.0
"""Files that several runs share: one run changes a file at a time, and a reader always sees a complete file."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock `.NAME.lock` of the file while the block reads and replaces the file; raise OSError."""
    # node_exporter's textfile collector ignores names that begin with a dot.
    with path.with_name(f".{path.name}.lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def replace(path: Path, content: Iterable[bytes], *, mode: int) -> None:
    """Write a draft in the same directory and rename it to the file; `mode` overrides the umask. Raise OSError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("wb") as handle:
        handle.writelines(content)
        handle.flush()
        # Without it a power failure can leave the new name with an empty file.
        os.fsync(handle.fileno())
    draft.chmod(mode)
    draft.replace(path)
