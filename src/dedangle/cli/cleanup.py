# SPDX-License-Identifier: Apache-2.0
"""`dedangle cleanup`: one server or a few, under an operator's hand."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from dedangle.cli import changing, connectors, console, servers, volumes
from dedangle.cli.changing import ChangingVerb
from dedangle.cli.signals import Signals
from dedangle.cli.wiring import UsageError, Wiring
from dedangle.core.decisions import Door, Finding
from dedangle.core.run import Run
from dedangle.report import plan

_OWN: dict[str, dict[str, Any]] = {
    "--restart": {
        "action": "store_true",
        "help": "where the server runs and only a stopped one can be cleaned, stop it through Nova's API, clean it, "
        "and start it again whatever came of that: all that runs on it is interrupted, and a guest that does not shut "
        "down in time is switched off; a server without such a finding, or stopped already, stays as it is",
    },
    "--no-host": {
        "action": "store_true",
        "help": "act on a stopped server whose host cannot be asked, or with --volume on what another host holds that "
        "the server has left; sessions, mounts and device maps of the removed volumes may stay behind on the host "
        "until it is rebooted or cleaned by hand",
    },
    "--allow-root": {
        "action": "store_true",
        "help": "remove the root disk's mapping of a stopped server too; the server will not boot without it",
    },
    "--relink": {
        "action": "store_true",
        "help": "where a stopped or offloaded server's mapping names a lost attachment and Cinder holds exactly one "
        "other, reserved for the two, let the mapping name that one; if it was not the right one, the volume is "
        "missing at the next start",
    },
}
_OWN["--reattach"] = {
    "action": "store_true",
    "help": "attach a volume again whose attachment Cinder has lost, in place of removing Nova's mapping: make a new "
    "attachment, connect it through the server's host, and let the mapping name it; a running guest keeps its disk, "
    "and only the connection that it uses already is accepted",
}
_OWN["--assume-deleted"] = {
    "action": "store_true",
    "help": "treat a server of which Nova has no trace as deleted and purged; what is connected still needs the proof "
    "of its host; if the id is Ironic's or another region's, its disk may be unplugged",
}
_OWN["--connector"] = connectors.OPTION
OPTIONS = {**changing.OPTIONS, **_OWN}
"""All that decides what is done, for nova-manage to offer too."""


class Cleanup(ChangingVerb):
    """Clean servers of their dangling attachments; without --execute say what would be done, and change nothing."""

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
            raise UsageError("--restart starts the server again, and --allow-root takes its root disk. Name one.")
        if args.connector and not args.reattach:
            raise UsageError("--connector is used by --reattach alone. Add --reattach.")
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
                run.trouble(
                    f"Server {server_id} was stopped by a run that was killed before it started it again. "
                    f"Run: dedangle cleanup {server_id} --restart --execute"
                )

    def explain(self, run: Run, findings: Sequence[Finding]) -> str:
        """Say what would be done about each finding, why, on which evidence, and what stands in the way."""
        return plan.plan(run, findings, console.columns())
