# SPDX-License-Identifier: Apache-2.0
"""What `cleanup` and `sweep` share: the plan, the question, the fuse and the removals."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dedangle.cli import console
from dedangle.cli.base import Verb
from dedangle.cli.wiring import UsageError, Wiring
from dedangle.core import planning
from dedangle.core.records import Door, Finding, Reading
from dedangle.report.account import Account

if TYPE_CHECKING:
    from dedangle.reconcile.restart import Restarter
    from dedangle.reconcile.server import Judged, Reconciler


OPTIONS: dict[str, dict[str, Any]] = {
    "--execute": {"action": "store_true", "help": "do what the plan says"},
    "--yes": {"action": "store_true", "help": "do not ask on a terminal"},
    "--max-removals": {"metavar": "N", "type": int, "help": "the fuse, in place of [dedangle]'s"},
}


def _few(_: Sequence[Finding], __: planning.Limits) -> Reading[Counter[planning.Scope]]:
    """Of the servers that were named: too few for a percentage."""
    return Reading((Counter(),))


class ChangingVerb(Verb):
    """A verb that changes something, when told to."""

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
        account: Account,
        judged: Sequence[Judged],
        totals: Callable[[Sequence[Finding], planning.Limits], Reading[Counter[planning.Scope]]] = _few,
        restarter: Restarter | None = None,
        over: Callable[[], bool] = lambda: False,
        concurrency: int = 1,
        due: int = 0,
    ) -> bool:
        """Remove what was judged removable, if the operator says so and the fuse bears it.

        With a restarter servers are stopped for what needs it. due is how many removals more count for the fuse.
        Returns False where the operator, asked, said no. Raises UsageError where state_dir cannot be written.
        """
        from dedangle.reconcile.fleet import Execution
        from dedangle.state.journal import JournalUnwritableError

        doomed = planning.changes(finding for each in judged for finding in each.findings)
        if not doomed:
            if account.listed():
                console.complain("All that was found is kept, for the reasons given. Nothing was changed.")
            elif account.complete:
                console.complain("There is nothing to do. Nothing was changed.")
            else:
                console.complain("Nothing was changed.")
            return True
        if not args.execute:
            console.complain(f"{len(doomed)} to be changed. Nothing was changed. Run again with --execute.")
            return True
        limits = planning.Limits(
            max_removals=self.max_removals(args, wiring),
            max_removals_percent=wiring.settings.max_removals_percent,
            due=due,
        )
        stops = [each.seen.server_id for each in judged if restarter and reconciler.counts_on_stop(each)]
        question = [f"{each.remedy}: {each.sentence}" for each in doomed]
        question += [f"Server {each} is stopped for that, and started again." for each in stops]
        question.append(f"Do these {len(doomed)}?")
        if not args.yes and not console.confirm("\n".join(question)):
            console.complain("Nothing was changed.")
            return False
        try:
            execution = Execution(
                reconciler=reconciler,
                journal=wiring.journal(self.door),
                actions=wiring.actions,
                limits=limits,
                totals=totals,
                off=restarter.off if restarter else None,
                over=over,
                concurrency=concurrency,
            )
            execution.run(judged, account, self.say)
        except (JournalUnwritableError, OSError) as error:
            why = str(error) if isinstance(error, JournalUnwritableError) else f"state_dir cannot be used: {error}"
            if not account.outcomes:
                raise UsageError(f"{why}. Nothing was changed without it.") from error
            account.trouble(f"{why}. What was not begun is left; make room and run again.")
        return True
