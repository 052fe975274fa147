# SPDX-License-Identifier: Apache-2.0
"""`dedangle sweep`: the whole fleet, unattended."""

from __future__ import annotations

import argparse
import contextlib

from dedangle.cli import servers
from dedangle.cli.changing import ChangingVerb
from dedangle.cli.wiring import UsageError, Wiring
from dedangle.core.records import Door
from dedangle.report.account import Account


class Sweep(ChangingVerb):
    """Clean the whole cloud of what may be removed unattended; without --execute change nothing."""

    door = Door.SWEEP

    def work(self, args: argparse.Namespace, wiring: Wiring, account: Account) -> None:
        from dedangle.reconcile import fleet
        from dedangle.state.lock import exclusive

        with contextlib.ExitStack() as held:
            if args.execute:
                # From the first read on: a second sweep would read the whole fleet only to be told to wait.
                try:
                    held.enter_context(exclusive(wiring.settings.state_dir))
                except OSError as error:
                    raise UsageError(f"state_dir cannot be used: {error}. Nothing was changed.") from error
            reconciler = wiring.reconciler(self.door)
            screen = fleet.read_screen(wiring.nova, wiring.cinder, reconciler, account, self.say)
            if screen is None:
                return
            account.paired = screen.paired
            account.add(screen.ownerless)
            judged = fleet.audit(screen.suspects, reconciler, account, self.say)
            servers.remember(wiring.sightings, judged)
            self.carry_out(args, wiring, reconciler, account, judged, screen.totals)
