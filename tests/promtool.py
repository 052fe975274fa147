# SPDX-License-Identifier: Apache-2.0
"""Prometheus' own judge of what is written for it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dedangle.lab import packages
from dedangle.lab.errors import LabError

PROMETHEUS = packages.Packages(("prometheus",), ("promtool",))


def promtool(*arguments: str, given: str = "", directory: Path | None = None) -> tuple[int, str]:
    """The exit code and all that it says; skips where it cannot be had."""
    try:
        packages.ensure_installed(PROMETHEUS)
    except LabError as missing:
        pytest.skip(str(missing))
    done = subprocess.run(
        ["promtool", *arguments], input=given, cwd=directory, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr
