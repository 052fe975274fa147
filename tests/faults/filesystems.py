# SPDX-License-Identifier: Apache-2.0
"""File systems that are full or read-only, which permissions cannot make for root."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def file_system(path: Path, options: str) -> Iterator[None]:
    """A small file system of its own on the directory, which must be empty."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], capture_output=True, text=True)
    if mount.returncode != 0:
        pytest.skip(f"root may mount no file system here: {mount.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)
