# SPDX-License-Identifier: Apache-2.0
"""`--hosts` of the audit and the sweep: the compute hosts are asked too."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dedangle.cli.progress import Progress
from dedangle.cli.wiring import Wiring
from dedangle.core.decisions import Finding
from dedangle.core.run import Run

if TYPE_CHECKING:
    from dedangle.reconcile.server import Reconciler

OPTION: dict[str, Any] = {
    "action": "store_true",
    "help": "also ask every compute host that runs dedangle for the disks of its guests. List disks that Nova does not "
    "map, and domains and connections that nothing explains, and use the answers as proof. A host that does not answer "
    "counts as not checked",
}


def ask(
    wiring: Wiring,
    reconciler: Reconciler,
    run: Run,
    progress: Progress,
    *,
    host: str | None = None,
    out_of_time: Callable[[], bool] = lambda: False,
) -> tuple[Reconciler, Callable[[Callable[[Finding], bool]], None]]:
    """Ask every host, or one, before anything else is read.

    Returns a reconciler that judges by the answers, and what enters in the run what only the hosts show.
    """
    hosts = wiring.nova.hosts()
    if not hosts.complete:
        run.miss([f"which compute hosts there are: {hosts.why}"])
    witnesses = wiring.witnesses(reconciler, progress)
    answers = witnesses.ask([name for name in sorted(hosts.rows) if host in (None, name)], run, out_of_time)
    judging = dataclasses.replace(reconciler, hosts=answers.proofs(reconciler.hosts))
    return judging, lambda wanted: witnesses.compare(answers, run, wanted)
