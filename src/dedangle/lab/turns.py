# SPDX-License-Identifier: Apache-2.0
"""What labs and tests of one machine do one after the other."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def alone_with(directory: Path) -> Iterator[None]:
    """Wait until no other process is alone with the directory; nothing is written into it."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
