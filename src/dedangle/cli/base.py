# SPDX-License-Identifier: Apache-2.0
"""What the verbs that look for findings share: options, output, exit codes."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cliff.lister import Lister

from dedangle.cli import console
from dedangle.cli.guarded import Guarded
from dedangle.cli.progress import Progress
from dedangle.cli.signals import Signals, StoppedError
from dedangle.cli.wiring import UsageError, Wiring, clock, wire
from dedangle.core.decisions import Finding
from dedangle.core.run import Run
from dedangle.core.text import harmless_lines, wrapped
from dedangle.report import exit_codes
from dedangle.report.cells import text
from dedangle.report.summary import summary


class Verb(Guarded, Lister):
    """A verb whose result is a list of findings; subclasses fill the run in `work`."""

    progress: Progress
    """Where the verb tells how far it is."""
    last_word: str = ""
    """What the run ends with, behind all that was found: whether something was changed, and how it is."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("--all", action="store_true", help="list in-flight, foreign and legacy pairs too")
        parser.add_argument(
            "--report",
            metavar="FILE",
            type=Path,
            help="write the whole run to FILE too: a page for people (.html) or a document for programs (.json)",
        )
        parser.add_argument(
            "--detailed-exit-code",
            action="store_true",
            help="end with 3 if a listed finding is left, with 4 if every listed finding was removed",
        )
        console.add_config_options(parser)
        return parser

    def work(self, args: argparse.Namespace, wiring: Wiring, run: Run) -> None:
        """Do what the verb does, and enter it in the run as it becomes known."""
        raise NotImplementedError

    def guarded_run(self, args: argparse.Namespace, signals: Signals) -> int:
        if args.report and args.report.suffix not in (".json", ".html"):
            raise UsageError(f"--report {args.report} is of no known kind. Name a file that ends in .html or .json.")
        if args.report:
            # Before anything is done: a run that changed something must not end in "nothing was changed".
            _write_report(args.report, "")
        started = time.monotonic()
        self.progress = Progress(time.monotonic)
        wiring = wire(self.app.config_args, signals)
        run = Run(run_id=wiring.run_id)
        stopped: StoppedError | None = None
        try:
            self.work(args, wiring, run)
            if any(finding.project_id for finding in run.listed(args.all)):
                run.project_names = wiring.project_names
        except StoppedError as error:
            stopped = error
            run.miss(["what was left when a signal stopped the run"])
        self._show(args, run)
        if getattr(args, "server", None) and not args.all:
            # Of the whole cloud they are only counted.
            for finding in run.waiting():
                console.complain(f"Skipped: {finding.reason}")
        for each in run.not_checked:
            console.complain(f"Not checked: {each}")
        for each in run.troubles:
            console.complain(each)
        if run.refusal:
            console.complain(f"Nothing was removed: {run.refusal}")
        seconds = time.monotonic() - started
        console.complain(summary(run, seconds))
        if self.last_word:
            console.complain(self.last_word)
        self.conclude(args, wiring, run, seconds)
        if stopped:
            raise stopped
        return exit_codes.exit_code(run, detailed=args.detailed_exit_code)

    def conclude(self, args: argparse.Namespace, wiring: Wiring, run: Run, seconds: float) -> None:
        """Do what a verb has to do when all is known; seconds is how long the run took."""

    def _show(self, args: argparse.Namespace, run: Run) -> None:
        from dedangle.report import document, table

        console.clear()
        findings = run.listed(args.all)
        listed = [document.row(run, finding) for finding in findings]
        self.formatter = self._formatter_plugins[args.formatter].obj
        if args.formatter == "table" and not args.columns:
            if findings:
                self.produce_output(args, *table.table(run, findings, console.columns()))
        elif listed or args.formatter != "table":
            rows = ([text(row[name], args.formatter) for name in document.COLUMNS] for row in listed)
            self.produce_output(args, document.COLUMNS, rows)
        if args.formatter == "table":
            sys.stdout.write(harmless_lines(self.explain(run, findings)))
        if args.report:
            _write_report(args.report, _report(args, run))

    def explain(self, run: Run, findings: Sequence[Finding]) -> str:
        """Say in words what the table shows: once for all findings that are alike, and each failure."""
        groups: dict[tuple[str, str, str], list[Finding]] = {}
        for each in findings:
            outcome = run.outcomes.get(each.key)
            result, detail = (outcome.result.value, outcome.detail) if outcome else ("", "")
            groups.setdefault((each.code, result or each.disposition.value, detail), []).append(each)
        width, told = console.columns(), ""
        for (code, fate, detail), alike in groups.items():
            first = alike[0]
            more = f" ({len(alike) - 1} more like it)" if len(alike) > 1 else ""
            is_tried = first.key in run.outcomes and bool(first.sentence)
            what = first.sentence if is_tried else first.prose
            lines = wrapped(f"{code}: {fate}{': ' + detail if detail else ''}", width, "", "  ")
            lines += wrapped(f"{what}{more}", width, "  ")
            if not is_tried:
                # Never wrapped: a command is there to be copied.
                lines += [f"  {'then' if number else 'Run'}: {each}" for number, each in enumerate(first.next)]
            told += "".join(f"{line}\n" for line in ["", *lines])
        return told

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        raise NotImplementedError("Guarded.run takes its place")


def _report(args: argparse.Namespace, run: Run) -> str:
    from dedangle.report import document, html

    if args.report.suffix == ".json":
        return document.document(run, everything=args.all)
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return html.page(run, everything=args.all, command=command, at=clock())


def _write_report(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--report {path} cannot be written: {error.strerror}.") from error
