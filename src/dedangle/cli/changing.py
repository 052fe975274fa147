# SPDX-License-Identifier: Apache-2.0
"""What `cleanup` and `sweep` share: the plan, the question, the fuse and the removals."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dedangle.cli import console
from dedangle.cli.base import Verb
from dedangle.cli.wiring import UsageError, Wiring
from dedangle.core import planning
from dedangle.core.records import Door
from dedangle.report.account import Account

if TYPE_CHECKING:
    from dedangle.reconcile.server import Judged, Reconciler


class ChangingVerb(Verb):
    """A verb that changes something, when told to."""

    door: Door
    say = staticmethod(console.progress)

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--execute", action="store_true", help="do what the plan says")
        parser.add_argument("--yes", action="store_true", help="do not ask on a terminal")
        parser.add_argument("--max-removals", metavar="N", type=int, help="the fuse, in place of [dedangle]'s")
        return parser

    def carry_out(
        self,
        args: argparse.Namespace,
        wiring: Wiring,
        reconciler: Reconciler,
        account: Account,
        judged: Sequence[Judged],
        totals: Mapping[planning.Scope, int] | None = None,
    ) -> None:
        """Remove what was judged removable, if the operator says so and the fuse bears it."""
        from dedangle.reconcile import fleet
        from dedangle.state.journal import JournalUnwritableError

        doomed = planning.changes(finding for each in judged for finding in each.findings)
        if not doomed:
            console.complain("There is nothing to do. Nothing was changed.")
            return
        if not args.execute:
            console.complain(f"{len(doomed)} to be changed. Nothing was changed. Run again with --execute.")
            return
        limits = planning.Limits(
            max_removals=wiring.settings.max_removals if args.max_removals is None else args.max_removals,
            max_removals_percent=wiring.settings.max_removals_percent,
        )
        question = [f"{each.remedy}: {each.sentence}" for each in doomed] + [f"Do these {len(doomed)}?"]
        if not args.yes and not console.confirm("\n".join(question)):
            console.complain("Nothing was changed.")
            return
        try:
            journal = wiring.journal(self.door)
            fleet.execute(judged, reconciler, journal, account, limits, Counter(totals or {}), self.say)
        except JournalUnwritableError as error:
            raise UsageError(f"{error}. Nothing was changed without it.") from error
