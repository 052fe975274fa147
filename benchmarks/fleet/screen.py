# SPDX-License-Identifier: Apache-2.0
"""One screen over a cell and Cinder's database, in a process of its own that has Nova's modules as a sweep has them."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dedangle.core.records import Refusal
from dedangle.reconcile.screen import Gathered, Screen
from dedangle.reconcile.sweep import gather
from dedangle.systems.cinder.database import CinderDatabase
from dedangle.systems.nova import fleet
from dedangle.systems.nova.cells import Cell


def read(nova: sa.Engine, cinder_url: str) -> tuple[Refusal | None, Screen]:
    """Return why something could not be read, and what the screen makes of the rest."""
    cell = Cell("Nova's cell1", lambda: nova, 600, "cell1")
    with Gathered() as gathered:
        unread = gather([fleet.pages(cell), *CinderDatabase(cinder_url, 600).bulk()], gathered)
        return unread, gathered.screen()


def main() -> None:
    # What a sweep imports, for the memory.
    from nova import conf, config, context, objects  # noqa: F401

    nova_url, cinder_url = sys.argv[1:]
    objects.register_all()
    before = status("VmHWM")
    began, cpu = time.perf_counter(), time.process_time()
    unread, screen = read(sa.create_engine(nova_url), cinder_url)
    answer: dict[str, Any] = {
        "unread": str(unread or ""),
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - cpu,
        "mb_before": before,
        "mb": status("VmHWM"),
        "paired": screen.paired,
        "attachments": screen.totals["run", ""],
        "ownerless": len(screen.ownerless),
        "suspects": screen.suspects,
    }
    print(json.dumps(answer))


def status(name: str) -> float:
    """Of this process, in MB; unlike ru_maxrss it starts at 0 with exec."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(name))) / 1000


if __name__ == "__main__":
    main()
