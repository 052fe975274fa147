# SPDX-License-Identifier: Apache-2.0
"""`dedangle cleanup`: one server or a few, under an operator's hand."""

from __future__ import annotations

import argparse

from dedangle.cli import servers
from dedangle.cli.changing import ChangingVerb
from dedangle.cli.wiring import Wiring
from dedangle.core.records import Door
from dedangle.report.account import Account


class Cleanup(ChangingVerb):
    """Clean servers of their dangling attachments; without --execute say what would be done, and change nothing."""

    door = Door.COMMAND

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("server", metavar="SERVER", nargs="+", help="id or name of a server; a deleted one by id")
        parser.add_argument(
            "--no-host",
            action="store_true",
            help="act on a stopped server whose host cannot be asked; sessions, mounts and device maps of the removed "
            "volumes may stay behind on the host until it is rebooted or cleaned by hand",
        )
        parser.add_argument(
            "--allow-root",
            action="store_true",
            help="remove the root disk's mapping of a stopped server too; the server will not boot without it",
        )
        parser.add_argument(
            "--relink",
            action="store_true",
            help="where a stopped or offloaded server's mapping names a lost attachment and Cinder holds exactly one "
            "other, reserved for the two, let the mapping name that one; if it was not the right one, the volume is "
            "missing at the next start",
        )
        return parser

    def work(self, args: argparse.Namespace, wiring: Wiring, account: Account) -> None:
        from dedangle.reconcile import fleet

        reconciler = wiring.reconciler(self.door, no_host=args.no_host, allow_root=args.allow_root, relink=args.relink)
        judged = fleet.audit(servers.identify(args.server, wiring.nova), reconciler, account, self.say)
        servers.require_known(judged)
        servers.remember(wiring.sightings, judged)
        self.carry_out(args, wiring, reconciler, account, judged)
