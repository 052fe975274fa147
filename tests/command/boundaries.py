# SPDX-License-Identifier: Apache-2.0
"""`boundaries.py HOW WHERE ARGUMENT...`: dedangle, to which something happens at one of its writes.

HOW is `kill` or `interrupt`, and WHERE the number of the write after which that happens; or HOW is a file, and WHERE a
server id: before its first intent for the server the run makes the file, and waits until the file is gone.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dedangle.cli.main import main
from dedangle.state.journal import Journal
from dedangle.state.stopped import StoppedServers
from dedangle.systems.cinder.api import CinderApi
from dedangle.systems.nova.actions import InstanceActions
from dedangle.systems.nova.api import NovaApi
from dedangle.systems.nova.database import NovaDatabase

WRITES: dict[type, tuple[str, ...]] = {
    Journal: ("begin", "intend", "conclude"),
    StoppedServers: ("remember", "forget"),
    InstanceActions: ("begin", "finish"),
    NovaDatabase: ("soft_delete_mapping", "name_attachment"),
    CinderApi: ("delete_attachment", "create_attachment", "connect_attachment", "complete_attachment"),
    NovaApi: ("stop", "start"),
}
PATIENCE = 120


def after_each_write(happens: Callable[[int, str], None]) -> None:
    """What is on disk between two writes is the same wherever between them the process ends: once is enough."""
    numbers = itertools.count(1)

    def wrap(system: type, name: str) -> None:
        write = getattr(system, name)

        def wrapped(*given: Any, **named: Any) -> Any:
            result = write(*given, **named)
            happens(next(numbers), f"{system.__name__}.{name}")
            return result

        setattr(system, name, wrapped)

    for system, names in WRITES.items():
        for name in names:
            wrap(system, name)


def before_first_intent(server_id: str, held: Path) -> None:
    intend = Journal.intend
    waited = False

    def wrapped(journal: Journal, finding: Any, *given: Any, **named: Any) -> Any:
        nonlocal waited
        if finding.server_id == server_id and not waited:
            waited = True
            held.touch()
            deadline = time.monotonic() + PATIENCE
            while held.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
        return intend(journal, finding, *given, **named)

    Journal.intend = wrapped  # type: ignore[method-assign]


def arrange(how: str, where: str) -> None:
    signals = {"kill": signal.SIGKILL, "interrupt": signal.SIGINT}
    if how not in signals:
        before_first_intent(where, Path(how))
        return

    def happens(done: int, name: str) -> None:
        if done == int(where):
            sys.stderr.write(f"boundary {done}: {name}\n")
            sys.stderr.flush()
            os.kill(os.getpid(), signals[how])

    after_each_write(happens)


if __name__ == "__main__":
    arrange(sys.argv[1], sys.argv[2])
    sys.exit(main(sys.argv[3:]))
