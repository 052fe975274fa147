# SPDX-License-Identifier: Apache-2.0
"""`dedangle audit`: find, and change nothing."""

from __future__ import annotations

import argparse

from dedangle.cli import servers
from dedangle.cli.base import Verb
from dedangle.cli.wiring import Wiring
from dedangle.core.records import Door, Finding
from dedangle.report.account import Account


class Audit(Verb):
    """Find dangling volume attachments in the whole cloud, and change nothing.

    The dispositions are those of the sweep: what it would remove, what it would wait with, what it only reports.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--server", metavar="SERVER", action="append", default=[], help="only this one, by id or name; repeatable"
        )
        parser.add_argument("--cell", metavar="NAME", action="append", default=[], help="only this cell; repeatable")
        parser.add_argument("--host", metavar="H", help="only servers of this host")
        parser.add_argument("--project", metavar="ID", help="only servers of this project")
        return parser

    def work(self, args: argparse.Namespace, wiring: Wiring, account: Account) -> None:
        from dedangle.reconcile import fleet

        reconciler = wiring.reconciler(Door.SWEEP)
        screen = None
        if args.server:
            suspects = servers.identify(args.server, wiring.nova)
        else:
            screen = fleet.read_screen(wiring.nova, wiring.bulk, reconciler, account, self.say)
            if screen is None:
                return
            account.paired = screen.paired
            account.add(screen.ownerless)
            suspects = screen.suspects

        def wanted(finding: Finding) -> bool:
            return (
                (not args.cell or finding.cell in args.cell)
                and args.host in (None, finding.host)
                and args.project in (None, finding.project_id)
            )

        concurrency = wiring.settings.concurrency
        judged = list(fleet.audit(suspects, reconciler, account, self.say, wanted=wanted, concurrency=concurrency))
        if screen:
            quiet = servers.quiet(screen, wiring.sightings, wiring.nova)
            servers.remember(wiring.sightings, judged, wiring.clock(), quiet=quiet)
        else:
            servers.require_known(judged)
            servers.remember(wiring.sightings, judged, wiring.clock())
