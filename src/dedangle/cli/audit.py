# SPDX-License-Identifier: Apache-2.0
"""`dedangle audit`: find, and change nothing."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dedangle.cli import hosts, servers, spans, textfile, volumes
from dedangle.cli.base import Verb
from dedangle.cli.errors import UsageError
from dedangle.cli.signals import Signals
from dedangle.cli.wiring import Wiring
from dedangle.core.decisions import Door, Finding
from dedangle.core.records import Reading
from dedangle.core.run import Run
from dedangle.core.text import harmless

if TYPE_CHECKING:
    from dedangle.systems.ports import Fleet

_FILTERS = ("server", "volume", "cell", "host", "project", "since")


class Audit(Verb):
    """Find dangling volume attachments in the whole cloud. The audit changes nothing.

    The disposition of a finding shows what a sweep would do: remove it, wait, or only report it.
    """

    is_unattended = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--server",
            metavar="SERVER",
            action="append",
            default=[],
            help="only this server, by id, short id or name; repeatable",
        )
        parser.add_argument("--volume", **volumes.OPTION)
        parser.add_argument("--cell", metavar="NAME", action="append", default=[], help="only this cell; repeatable")
        parser.add_argument("--host", metavar="H", help="only servers on this compute host")
        parser.add_argument("--project", metavar="PROJECT", help="only servers of this project, by id or name")
        parser.add_argument("--hosts", **hosts.OPTION)
        parser.add_argument(
            "--since",
            metavar="TIME",
            type=spans.moment,
            help="only findings that changed in Nova or Cinder at or after this UTC time, or at an unknown time, "
            "oldest first: 2026-11-22 or 2026-11-22T21:30. After a restore, use the time of the backup",
        )
        parser.add_argument("--textfile", **textfile.OPTION)
        return parser

    def guarded_run(self, args: argparse.Namespace, signals: Signals) -> int:
        filters = _filters(args)
        if args.textfile and filters:
            raise UsageError(
                f"--textfile writes metrics of the whole cloud, but {filters[0]} selects a part of it. Remove "
                f"--textfile, or remove {' and '.join(filters)}."
            )
        return super().guarded_run(args, signals)

    def work(self, args: argparse.Namespace, wiring: Wiring, run: Run) -> None:
        _require_known(args, wiring.nova)
        project_id = _project_id(args.project, wiring) if args.project else None
        volume_ids = volumes.identify(args.volume, wiring.nova, wiring.cinder)
        run.is_filtered = bool(args.cell or args.host or args.project or args.since or volume_ids)
        run.oldest_first = args.since is not None
        is_concerned = volumes.concerned(volume_ids)

        def wanted(finding: Finding) -> bool:
            return (
                (not args.cell or finding.cell in args.cell)
                and args.host in (None, finding.host)
                and project_id in (None, finding.project_id)
                and (args.since is None or finding.changed_at is None or finding.changed_at >= args.since)
                and is_concerned(finding)
            )

        concurrency = wiring.settings.concurrency
        reconciler = wiring.reconciler(Door.SWEEP, names_volume=bool(volume_ids))
        if args.hosts:
            reconciler, compare = hosts.ask(wiring, reconciler, run, self.progress, host=args.host)
        inspection = wiring.inspection(reconciler, self.progress, concurrency=concurrency)
        named: Sequence[str] = []
        if volume_ids:
            inspection.of_volumes(volume_ids, run, wanted)
            named = servers.identify(args.server, wiring.nova, wiring.cinder)
            inspection.of_servers(volumes.servers_of(volume_ids, wiring.cinder, wiring.nova, named), run, wanted)
        elif args.server:
            named = servers.identify(args.server, wiring.nova, wiring.cinder)
            judged = inspection.of_servers(named, run, wanted)
            servers.require_known(judged, wiring.cinder)
        else:
            inspection.of_fleet(wiring.bulk, run, wanted=wanted)
        if args.hosts:
            compare(lambda finding: wanted(finding) and (not named or finding.server_id in named))

    def conclude(self, args: argparse.Namespace, wiring: Wiring, run: Run, seconds: float) -> None:
        from dedangle.report import exit_codes, metrics

        path = textfile.path(args, wiring.settings, "dedangle-audit.prom")
        if path is None or _filters(args):
            return
        with textfile.failure_reported(path):
            succeeded = exit_codes.exit_code(run, detailed=False) == exit_codes.DONE
            metrics.write_audit(path, run, succeeded=succeeded, seconds=seconds, now=wiring.clock())


def _filters(args: argparse.Namespace) -> list[str]:
    """Return the options that select a part of the cloud."""
    return [f"--{name}" for name in _FILTERS if getattr(args, name)]


def _require_known(args: argparse.Namespace, nova: Fleet) -> None:
    """Raise UsageError if a filter names something that does not exist; an empty list would look like a clean cloud."""
    for name in args.cell:
        if name not in nova.cell_names:
            raise UsageError(f"No cell is named {harmless(name)}. Nova's cells are: {', '.join(nova.cell_names)}.")
    known_hosts = nova.hosts() if args.host else Reading[str]()
    if args.host and known_hosts.complete and args.host not in known_hosts.rows:
        near = difflib.get_close_matches(args.host, known_hosts.rows)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise UsageError(
            f"No compute host is named {harmless(args.host)}.{hint} List them with: openstack compute service list"
        )


def _project_id(project: str, wiring: Wiring) -> str:
    """Return the id of the project with this id or name; raise UsageError if the project has no server."""
    named = [ident for ident, name in wiring.project_names.items() if name == project]
    if len(named) > 1:
        raise UsageError(
            f"{len(named)} projects are named {harmless(project)}: {', '.join(named)}. Use the id of one of them."
        )
    project_id = next(iter(named), project)
    known = wiring.nova.has_project(project_id)
    if known.complete and not any(known.rows):
        raise UsageError(
            f"No cell has a server of project {harmless(project)}. Look up the project with: openstack project list"
        )
    return project_id
