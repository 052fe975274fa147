# SPDX-License-Identifier: Apache-2.0
"""`boundaries.py HOW WHERE ARGUMENT...`: dedangle, to which something happens at one of its writes.

HOW is `kill` or `interrupt`, and WHERE the number of the write after which that happens; or HOW is a file, which the
run makes and then waits until it is gone: after the write of the number WHERE, 0 being before the first, or before its
first intent for the server whose id is WHERE.
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
    Journal: ("begin", "intend", "intend_undo", "conclude"),
    StoppedServers: ("remember", "forget"),
    InstanceActions: ("begin", "finish"),
    NovaDatabase: ("soft_delete_mapping", "name_attachment", "restore_mapping"),
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


def wait(held: Path) -> None:
    held.touch()
    deadline = time.monotonic() + PATIENCE
    while held.exists() and time.monotonic() < deadline:
        time.sleep(0.01)


def before_first_intent(server_id: str | None, held: Path) -> None:
    """Wait before the first intent for the server, or for any."""
    waited = False

    def wrap(name: str) -> None:
        intend = getattr(Journal, name)

        def wrapped(journal: Journal, about: Any, *given: Any, **named: Any) -> Any:
            nonlocal waited
            if not waited and (server_id is None or about.server_id == server_id):
                waited = True
                wait(held)
            return intend(journal, about, *given, **named)

        setattr(Journal, name, wrapped)

    for name in ("intend",) if server_id else ("intend", "intend_undo"):
        wrap(name)


def arrange(how: str, where: str) -> None:
    signals = {"kill": signal.SIGKILL, "interrupt": signal.SIGINT}
    if how not in signals:
        if where.isdecimal() and where != "0":
            after_each_write(lambda done, _: wait(Path(how)) if done == int(where) else None)
        else:
            before_first_intent(None if where == "0" else where, Path(how))
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
