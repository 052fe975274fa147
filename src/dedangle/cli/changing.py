# SPDX-License-Identifier: Apache-2.0
"""Parts that `cleanup` and `sweep` share: the plan, the question, the removal limit and the removals."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dedangle.cli import console, spans
from dedangle.cli.base import Verb
from dedangle.cli.errors import UsageError
from dedangle.cli.wiring import Wiring
from dedangle.core import planning
from dedangle.core.decisions import Door, Finding, Result
from dedangle.core.records import Reading
from dedangle.core.run import Run

if TYPE_CHECKING:
    from dedangle.reconcile.restart import Restarter
    from dedangle.reconcile.server import Judged, Reconciler
    from dedangle.reconcile.stuck import StuckVolumes


OPTIONS: dict[str, dict[str, Any]] = {
    "--execute": {"action": "store_true", "help": "make the changes of the plan"},
    "--yes": {"action": "store_true", "help": "do not ask for confirmation on a terminal"},
    "--max-removals": {
        "metavar": "N",
        "type": spans.count,
        "help": "removal limit of this run (default: [dedangle] max_removals)",
    },
}


def _few(_: Sequence[Finding], __: planning.Limits) -> Reading[Counter[planning.Scope]]:
    """Return no totals: the named servers are too few for a percentage."""
    return Reading((Counter(),))


class ChangingVerb(Verb):
    """A verb that makes changes if --execute is given."""

    door: Door

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        for name, settings in OPTIONS.items():
            parser.add_argument(name, **settings)
        return parser

    def max_removals(self, args: argparse.Namespace, wiring: Wiring) -> int:
        return wiring.settings.max_removals if args.max_removals is None else int(args.max_removals)

    def carry_out(
        self,
        args: argparse.Namespace,
        wiring: Wiring,
        reconciler: Reconciler,
        run: Run,
        judged: Sequence[Judged],
        totals: Callable[[Sequence[Finding], planning.Limits], Reading[Counter[planning.Scope]]] = _few,
        restarter: Restarter | None = None,
        out_of_time: Callable[[], bool] = lambda: False,
        concurrency: int = 1,
        unjudged_removals: int = 0,
        wanted: Callable[[Finding], bool] = lambda _: True,
        stuck: Sequence[Finding] = (),
        stuck_volumes: StuckVolumes | None = None,
    ) -> bool:
        """Ask the operator, and make the planned changes if the answer is yes and the removal limit allows them.

        With a restarter, servers are stopped for changes that need it. Returns False if the operator answered no.
        Raises UsageError if state_dir cannot be written.
        """
        from dedangle.reconcile.removals import Removals
        from dedangle.state.journal import JournalUnwritableError

        resets = [finding for finding in stuck if finding.disposition.is_change]
        changes = [*(finding for one in judged for finding in one.changes), *resets]
        if not changes:
            self.last_word = _nothing_to_do(run)
            return True
        if not args.execute:
            planned = f"{len(changes)} change{'s' if len(changes) > 1 else ''} planned"
            self.last_word = f"{planned}. Nothing was changed. Run again with --execute."
            return True
        stops = [one.seen.server_id for one in judged if restarter and reconciler.counts_on_stop(one)]
        question = [f"Server {server_id} will be stopped and started again." for server_id in stops]
        question.append(f"Make these {len(changes)} changes?" if len(changes) > 1 else "Make this change?")
        if not args.yes and not self._agrees(args, run, changes, question):
            self.last_word = "Nothing was changed."
            return False
        try:
            removals = Removals(
                reconciler=reconciler,
                journal=wiring.journal(self.door),
                actions=wiring.actions,
                limits=planning.Limits(
                    max_removals=self.max_removals(args, wiring),
                    max_removals_percent=wiring.settings.max_removals_percent,
                    unjudged_removals=unjudged_removals,
                ),
                totals=totals,
                stopped_server=restarter.stopped_server if restarter else None,
                out_of_time=out_of_time,
                wanted=wanted,
                unchanged_since=wiring.sightings.unchanged_since,
                concurrency=concurrency,
            )
            try:
                removals.carry_out(judged, run, self.progress)
            finally:
                _remember_unchanged(wiring, run)
            if stuck_volumes:
                run.outcomes.update((finding.key, stuck_volumes.reset(finding, removals.journal)) for finding in resets)
        except (JournalUnwritableError, OSError) as error:
            why = str(error) if isinstance(error, JournalUnwritableError) else f"state_dir cannot be used: {error}"
            if not run.outcomes:
                raise UsageError(f"{why}. Nothing was changed without it.") from error
            run.trouble(f"{why}. The run stopped before its other changes. Fix this and run again.")
        return True

    def _agrees(self, args: argparse.Namespace, run: Run, changes: Sequence[Finding], question: list[str]) -> bool:
        """Show the plan on the terminal and ask. Without a terminal, --execute is the answer: yes."""
        if not console.can_ask():
            return True
        if args.formatter == "table" and console.columns():
            self.show_findings(args, run)
        else:
            # The output goes elsewhere, and must hold the result alone.
            question = [f"{finding.remedy}: {finding.sentence}" for finding in changes] + question
        agrees = console.confirm("\n".join(question))
        self.is_shown = self.is_shown and not agrees
        return agrees


def _remember_unchanged(wiring: Wiring, run: Run) -> None:
    """Store the changes that ended as changed-meanwhile, so that the next run can report that they did so twice."""
    given_up = [key for key, outcome in run.outcomes.items() if outcome.result is Result.CHANGED_MEANWHILE]
    if given_up:
        try:
            wiring.sightings.keep_unchanged(given_up, wiring.clock())
        except OSError as error:
            console.complain(f"The list of changes that were given up could not be written: {error}.")


def _nothing_to_do(run: Run) -> str:
    if run.listed():
        return "None of the findings can be removed now; see the reasons above. Nothing was changed."
    if run.waiting():
        return "Nothing can be removed while the operations named above are in progress. Nothing was changed."
    if run.complete:
        return "There is nothing to do. Nothing was changed."
    return "Nothing was changed."
