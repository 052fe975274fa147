# SPDX-License-Identifier: Apache-2.0
"""`dedangle undo`: restore a mapping that was removed by mistake."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cliff.show import ShowOne

from dedangle.cli import connectors, console
from dedangle.cli.errors import UsageError
from dedangle.cli.guarded import Guarded
from dedangle.cli.journal import Field, add_journal_option, entry_of, read
from dedangle.cli.signals import Signals
from dedangle.cli.wiring import wire
from dedangle.core.decisions import Door, Outcome, Result
from dedangle.core.records import BlockDeviceMapping, Refusal
from dedangle.core.rows import mapping_of
from dedangle.report import exit_codes
from dedangle.state import journal
from dedangle.state.journal import Entry


class Undo(Guarded, ShowOne):
    """Restore a mapping that dedangle removed. Without --execute, only show the plan.

    A mapping can be restored while nothing else uses its volume or its device name. If Cinder no longer has the
    attachment, dedangle creates a new one, connects it through the server's host, and lets the mapping name it.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("entry", metavar="ENTRY", help="id of the entry, from dedangle journal list")
        parser.add_argument("--execute", action="store_true", help="make the changes of the plan")
        parser.add_argument("--yes", action="store_true", help="do not ask for confirmation on a terminal")
        parser.add_argument("--connector", **connectors.OPTION)
        add_journal_option(parser)
        console.add_config_options(parser)
        return parser

    def guarded_run(self, args: argparse.Namespace, signals: Signals) -> int:
        from dedangle.core import undoing
        from dedangle.reconcile.undo import Undoer

        connector = connectors.read(args.connector)
        wiring = wire(self.app.config_args, signals)
        state_dir = wiring.settings.state_dir
        undone = entry_of(read(args.journal, state_dir), args.entry)
        undoer = Undoer(
            nova=wiring.nova,
            cinder=wiring.cinder,
            entry=undone,
            removed=_removed(undone),
            resumed=_was_begun(undone, state_dir / journal.NAME),
            connector=connector,
            shield=signals.shield,
        )
        observed = undoer.look()
        found = undoing.judge(observed)
        if isinstance(found, Refusal):
            console.complain(f"Entry {undone.id} cannot be undone: {found}. Nothing was changed.")
            return exit_codes.INCOMPLETE
        outcome, last_word = None, ""
        if not args.execute:
            last_word = "Nothing was changed. Run again with --execute."
        elif args.yes or console.confirm(f"{found.plan}\nDo this?"):
            try:
                outcome = undoer.execute(wiring.journal(Door.COMMAND))
            except journal.JournalUnwritableError as error:
                raise UsageError(f"{error}. Nothing was changed without it.") from error
        else:
            last_word = "Nothing was changed."
        self._row = _row(undone, found.plan, list(undoing.facts(observed)), outcome)
        self.show(args)
        if last_word:
            console.complain(last_word)
        return exit_codes.DONE if outcome is None or outcome.result is Result.RESTORED else exit_codes.INCOMPLETE

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[tuple[str, ...], list[Field]]:  # noqa: ARG002
        return tuple(self._row), [Field(each) for each in self._row.values()]


def _row(undone: Entry, plan: str, evidence: list[str], outcome: Outcome | None) -> dict[str, Any]:
    return {
        "entry": undone.id,
        **{name: undone.intent.get(name) for name in ("code", "server_id", "volume_id", "bdm_uuid")},
        "plan": plan,
        "evidence": evidence,
        "outcome": outcome.result.value if outcome else None,
        "detail": outcome.detail or None if outcome else None,
    }


def _removed(undone: Entry) -> BlockDeviceMapping:
    from dedangle.core import undoing

    subject = (str(undone.intent.get(each)) for each in ("server_id", "volume_id"))
    reason = undoing.unfit(undone.intent.get("remedy"), undone.outcome.get("outcome"), *subject)
    if reason:
        raise UsageError(f"Entry {undone.id} cannot be undone: {reason}.")
    try:
        return mapping_of(undone.intent["row"])
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"Entry {undone.id} cannot be undone: its row is not a complete mapping.") from error


def _was_begun(undone: Entry, own: Path) -> bool:
    """Whether the journal in state_dir, which may not be the one with the entry, has an undo of the entry."""
    try:
        return any(entry.intent.get("undoes") == undone.id for entry in journal.read(own).entries)
    except OSError:
        return False
