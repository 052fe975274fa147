# SPDX-License-Identifier: Apache-2.0
"""`dedangle audit`: find, and change nothing."""

from __future__ import annotations

import argparse

from dedangle.cli import servers
from dedangle.cli.base import Verb
from dedangle.cli.wiring import Wiring
from dedangle.core.decisions import Door, Finding
from dedangle.core.run import Run


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

    def work(self, args: argparse.Namespace, wiring: Wiring, run: Run) -> None:
        def wanted(finding: Finding) -> bool:
            return (
                (not args.cell or finding.cell in args.cell)
                and args.host in (None, finding.host)
                and args.project in (None, finding.project_id)
            )

        concurrency = wiring.settings.concurrency
        inspection = wiring.inspection(wiring.reconciler(Door.SWEEP), self.progress, concurrency=concurrency)
        if args.server:
            servers.require_known(inspection.of_servers(servers.identify(args.server, wiring.nova), run, wanted))
        else:
            inspection.of_fleet(wiring.bulk, run, wanted=wanted)
