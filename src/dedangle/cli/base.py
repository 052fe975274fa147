# SPDX-License-Identifier: Apache-2.0
"""Options, output and exit codes of the verbs that look for findings."""

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
from dedangle.cli.errors import UsageError
from dedangle.cli.guarded import Guarded
from dedangle.cli.progress import Progress
from dedangle.cli.signals import Signals, StoppedError
from dedangle.cli.wiring import Wiring, clock, wire
from dedangle.core.decisions import Finding
from dedangle.core.run import Run
from dedangle.core.text import harmless_lines, wrapped
from dedangle.report import exit_codes
from dedangle.report.cells import text
from dedangle.report.summary import summary


class Verb(Guarded, Lister):
    """A verb whose result is a list of findings. Subclasses fill the run in `work`."""

    progress: Progress
    """Shows the progress of the run."""
    last_word: str = ""
    """The last message of the run: whether something was changed, and what to type next."""
    is_shown: bool = False
    """Whether stdout already has the findings as they are, because the operator was asked."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            "--all",
            action="store_true",
            help="also list pairs with an operation in progress, pairs of other services, and legacy pairs, whose "
            "mapping is from before Queens",
        )
        parser.add_argument(
            "--report",
            metavar="FILE",
            type=Path,
            help="also write the run to FILE: an HTML page (.html) or a JSON document for scripts (.json)",
        )
        parser.add_argument(
            "--detailed-exit-code",
            action="store_true",
            help="exit with 3 if a listed finding remains, or with 4 if all listed findings were removed",
        )
        console.add_config_options(parser)
        return parser

    def work(self, args: argparse.Namespace, wiring: Wiring, run: Run) -> None:
        """Do the work of the verb, and record findings and outcomes in the run as they become known."""
        raise NotImplementedError

    def guarded_run(self, args: argparse.Namespace, signals: Signals) -> int:
        if args.report and args.report.suffix not in (".json", ".html"):
            raise UsageError(f"--report {args.report}: unknown format. Use a file name that ends in .html or .json.")
        if args.report:
            # Checked first, so that a run that has changed something does not fail on its report.
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
            run.miss(["the rest of the run, which a signal stopped"])
        if not self.is_shown:
            self.show_findings(args, run)
        if args.report:
            _write_report(args.report, _report(args, run))
        seconds = time.monotonic() - started
        self._complain(args, run, seconds)
        self.conclude(args, wiring, run, seconds)
        if stopped:
            raise stopped
        return exit_codes.exit_code(run, detailed=args.detailed_exit_code)

    def _complain(self, args: argparse.Namespace, run: Run, seconds: float) -> None:
        """Print on stderr what was skipped, what failed, the summary, and what to type next."""
        if getattr(args, "server", None) and not args.all:
            # An audit of the whole cloud only counts them.
            for finding in run.waiting():
                console.complain(f"Skipped: {finding.reason}")
        for reason in run.not_checked:
            console.complain(f"Not checked: {reason}")
        for sentence in run.troubles:
            console.complain(sentence)
        if run.refusal:
            console.complain(f"Nothing was removed: {run.refusal}")
        console.complain(summary(run, seconds))
        if self.last_word:
            console.complain(self.last_word)

    def conclude(self, args: argparse.Namespace, wiring: Wiring, run: Run, seconds: float) -> None:
        """Do the last steps of the verb, after the output; `seconds` is the duration of the run."""

    def show_findings(self, args: argparse.Namespace, run: Run) -> None:
        """Print the findings, or their outcomes after the changes, on stdout."""
        from dedangle.report import document, table

        findings = run.listed(args.all)
        listed = [document.row(run, finding) for finding in findings]
        with console.result():
            self.formatter = self._formatter_plugins[args.formatter].obj
            if args.formatter == "table" and not args.columns:
                if findings:
                    self.produce_output(args, *table.table(run, findings, console.columns()))
            elif listed or args.formatter != "table":
                rows = ([text(row[name], args.formatter) for name in document.COLUMNS] for row in listed)
                self.produce_output(args, document.COLUMNS, rows)
            if args.formatter == "table":
                sys.stdout.write(harmless_lines(self.explain(run, findings)))
        self.is_shown = True

    def explain(self, run: Run, findings: Sequence[Finding]) -> str:
        """Return the explanation below the table: one paragraph for findings of the same kind, and one per failure."""
        groups: dict[tuple[str, str, str], list[Finding]] = {}
        for finding in findings:
            outcome = run.outcomes.get(finding.key)
            result, detail = (outcome.result.value, outcome.detail) if outcome else ("", "")
            groups.setdefault((finding.code, result or finding.disposition.value, detail), []).append(finding)
        width, explanation = console.columns(), ""
        for (code, fate, detail), alike in groups.items():
            first = alike[0]
            more = f" ({len(alike) - 1} more of this kind)" if len(alike) > 1 else ""
            is_tried = first.key in run.outcomes
            what = first.sentence if is_tried else first.prose
            lines = wrapped(f"{code}: {fate}{': ' + detail if detail else ''}", width, "", "  ")
            lines += wrapped(f"{what}{more}", width, "  ")
            if not is_tried:
                # Commands are not wrapped, so that they can be copied.
                lines += [f"  {'then' if number else 'Run'}: {command}" for number, command in enumerate(first.next)]
            explanation += "".join(f"{line}\n" for line in ["", *lines])
        return explanation

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        raise NotImplementedError("Guarded.run replaces it")


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
