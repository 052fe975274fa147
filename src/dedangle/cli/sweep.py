# SPDX-License-Identifier: Apache-2.0
"""`dedangle sweep`: the whole fleet, unattended."""

from __future__ import annotations

import argparse

from dedangle.cli import servers
from dedangle.cli.changing import ChangingVerb
from dedangle.cli.wiring import Wiring
from dedangle.core.records import Door
from dedangle.report.account import Account


class Sweep(ChangingVerb):
    """Clean the whole cloud of what may be removed unattended; without --execute change nothing."""

    door = Door.SWEEP

    def work(self, args: argparse.Namespace, wiring: Wiring, account: Account) -> None:
        from dedangle.reconcile import fleet

        reconciler = wiring.reconciler(self.door)
        screen = fleet.read_screen(wiring.nova, wiring.cinder, reconciler, account, self.say)
        if screen is None:
            return
        account.paired = screen.paired
        account.add(screen.ownerless)
        judged = fleet.audit(screen.suspects, reconciler, account, self.say)
        servers.remember(wiring.sightings, judged)
        self.carry_out(args, wiring, reconciler, account, judged, screen.totals)
