# SPDX-License-Identifier: Apache-2.0
"""`dedangle cleanup`: clean one server or a few, as an operator asks."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from dedangle.cli import changing, connectors, console, servers, volumes
from dedangle.cli.changing import ChangingVerb
from dedangle.cli.errors import UsageError
from dedangle.cli.signals import Signals
from dedangle.cli.wiring import Wiring
from dedangle.core.decisions import Door, Finding
from dedangle.core.run import Run
from dedangle.report import plan

_OWN: dict[str, dict[str, Any]] = {
    "--restart": {
        "action": "store_true",
        "help": "if a finding needs a stopped server, stop the running server through Nova's API, clean it, and start "
        "it again, even if the cleanup fails. This interrupts everything that runs on the server. Nova powers off a "
        "guest that does not shut down in time. Other servers are not stopped",
    },
    "--no-host": {
        "action": "store_true",
        "help": "clean a stopped server without its compute host; with --volume, also without another host that the "
        "server has left. Sessions, mounts and device maps of the removed volumes may stay on the host until you "
        "reboot it or clean it by hand",
    },
    "--allow-root": {
        "action": "store_true",
        "help": "also remove the mapping of the root disk of a stopped server. The server does not boot without it",
    },
    "--relink": {
        "action": "store_true",
        "help": "if the mapping of a stopped or offloaded server names a lost attachment, let it name the only other "
        "attachment that Cinder has for this server and volume. If that is the wrong attachment, the volume is missing "
        "at the next start",
    },
}
_OWN["--reattach"] = {
    "action": "store_true",
    "help": "if Cinder has lost the attachment of a volume, attach the volume again instead of removing Nova's "
    "mapping. dedangle creates a new attachment, connects it through the server's host, and lets the mapping name it. "
    "A running guest keeps its disk: dedangle only accepts the connection that the guest already uses",
}
_OWN["--assume-deleted"] = {
    "action": "store_true",
    "help": "treat a server without any record in Nova as deleted and purged. A connected attachment still needs proof "
    "from its host. If the id belongs to Ironic or to another region, its disk may be unplugged",
}
_OWN["--connector"] = connectors.OPTION
OPTIONS = {**changing.OPTIONS, **_OWN}
"""The options that decide what is changed; nova-manage offers them too."""


class Cleanup(ChangingVerb):
    """Remove the dangling volume attachments of servers. Without --execute, only show the plan."""

    door = Door.COMMAND

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "server",
            metavar="SERVER",
            nargs="*",
            help="id, short id or name of a server; a deleted one by id or short id",
        )
        parser.add_argument("--volume", **volumes.OPTION)
        for name, settings in _OWN.items():
            parser.add_argument(name, **settings)
        return parser

    def guarded_run(self, args: argparse.Namespace, signals: Signals) -> int:
        if not args.server and not args.volume:
            raise UsageError(
                "dedangle cleanup: the following arguments are required: SERVER or --volume. "
                "See: dedangle cleanup --help"
            )
        return super().guarded_run(args, signals)

    def work(self, args: argparse.Namespace, wiring: Wiring, run: Run) -> None:
        if args.restart and args.allow_root:
            raise UsageError(
                "--restart and --allow-root cannot be used together: a server without its root disk does not start. "
                "Use one of them."
            )
        if args.connector and not args.reattach:
            raise UsageError("--connector only works with --reattach. Add --reattach.")
        connector = connectors.read(args.connector)
        volume_ids = volumes.identify(args.volume, wiring.nova, wiring.cinder)
        is_concerned = volumes.concerned(volume_ids)
        reconciler = wiring.reconciler(
            self.door,
            connector,
            no_host=args.no_host,
            names_volume=bool(volume_ids),
            allow_root=args.allow_root,
            relink=args.relink,
            reattach=args.reattach,
            restart=args.restart,
            assume_deleted=args.assume_deleted,
        )
        restarter = wiring.restarter(self.progress, run.trouble)
        inspection = wiring.inspection(reconciler, self.progress)
        server_ids = servers.identify(args.server, wiring.nova, wiring.cinder)
        if volume_ids:
            server_ids = volumes.servers_of(volume_ids, wiring.cinder, wiring.nova, server_ids)
        judged = inspection.of_servers(server_ids, run, is_concerned)
        stuck = inspection.of_volumes(volume_ids, run) if not args.server else []
        servers.require_known(judged, wiring.cinder)
        left_stopped = [one.seen.server_id for one in judged if restarter.was_left_stopped(one.server)]
        agreed = self.carry_out(
            args,
            wiring,
            reconciler,
            run,
            [one.of(is_concerned) for one in judged],
            restarter=restarter if args.restart else None,
            wanted=is_concerned,
            stuck=stuck,
            stuck_volumes=inspection.stuck_volumes,
        )
        for server_id in left_stopped:
            if agreed and args.restart and args.execute:
                restarter.start_again(server_id)
            else:
                of_volumes = "".join(f" --volume {each}" for each in volume_ids)
                run.trouble(
                    f"Server {server_id} is still stopped: an earlier run stopped it, and was killed before it started "
                    f"the server again. Run: dedangle cleanup {server_id}{of_volumes} --restart --execute"
                )

    def explain(self, run: Run, findings: Sequence[Finding]) -> str:
        """Return the plan: for each finding the remedy, the reason, the evidence, and why it is kept."""
        return plan.plan(run, findings, console.columns())
