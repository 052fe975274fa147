# SPDX-License-Identifier: Apache-2.0
"""The file with the metrics of a run, for node_exporter's textfile collector."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dedangle.cli import console

if TYPE_CHECKING:
    from dedangle.config import Settings

OPTION: dict[str, Any] = {"metavar": "FILE.prom", "type": Path, "help": "write Prometheus metrics to FILE.prom"}


def path(args: argparse.Namespace, settings: Settings, name: str) -> Path | None:
    """Return the file of --textfile, or the file of this name in textfile_dir; None if neither is set."""
    if args.textfile or settings.textfile_dir is None:
        named: Path | None = args.textfile
        return named
    return settings.textfile_dir / name


@contextlib.contextmanager
def failure_reported(path: Path) -> Iterator[None]:
    """Print an OSError of the block as one message, because the run itself has succeeded."""
    try:
        yield
    except OSError as error:
        console.complain(f"Metrics were not written to {path}: {error.strerror}.")
