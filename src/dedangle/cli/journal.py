# SPDX-License-Identifier: Apache-2.0
"""`dedangle journal list` and `show`: the changes that dedangle made or tried to make, with their outcome."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cliff.columns import FormattableColumn
from cliff.lister import Lister
from cliff.show import ShowOne

from dedangle.cli import console, spans
from dedangle.cli.configuration import configure
from dedangle.cli.errors import UsageError
from dedangle.cli.guarded import Guarded
from dedangle.cli.signals import Signals
from dedangle.core import times
from dedangle.core.ids import is_short_id
from dedangle.core.rows import DESCRIPTION
from dedangle.core.text import harmless
from dedangle.report import exit_codes, table
from dedangle.report.cells import text
from dedangle.state import journal
from dedangle.state.journal import Entry, History

_COLUMNS = (
    *("entry", "at", "door", "code", "remedy", "server_id", "volume_id", "attachment_id", "outcome", "detail"),
    *("undoes", "undone_by", "bdm_uuid", "cell", "host", "project_id", "run_id", *DESCRIPTION, "project_name"),
)
_FIELDS = (*_COLUMNS, "outcome_at", "disposition", "first_seen", "reason", "evidence", "row")


class JournalVerb(Guarded):
    """A verb that only reads the journal, so that it also works on a compute host."""

    history = History()

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        add_journal_option(parser)
        console.add_config_options(parser)
        return parser

    def guarded_run(self, args: argparse.Namespace, signals: Signals) -> int:  # noqa: ARG002 - reading is always safe
        self.history = read(args.journal, configure(self.app.config_args).state_dir)
        self.show(args)
        # A script that counts changes must see that the list is not complete.
        return exit_codes.INCOMPLETE if self.history.unreadable else exit_codes.DONE


class JournalList(JournalVerb, Lister):
    """List all changes that dedangle made or tried to make on this machine, with their outcome.

    The outcome `unfinished` means that the run ended before it recorded an outcome: the change may have been made.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--server", metavar="SERVER", help="only changes of this server, by id, short id or name")
        parser.add_argument("--volume", metavar="VOLUME", help="only changes of this volume, by id, short id or name")
        parser.add_argument("--code", metavar="CODE", help="only changes for findings of this code")
        parser.add_argument(
            "--since",
            metavar="TIME",
            type=spans.moment,
            help="only changes at or after this UTC time: 2026-11-22 or 2026-11-22T21:30",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[tuple[str, ...], Sequence[Sequence[Any]]]:
        chosen = [
            _fields(entry, self.history)
            for entry in self.history.entries
            if _is_of(entry, "server", parsed_args.server)
            and _is_of(entry, "volume", parsed_args.volume)
            and parsed_args.code in (None, entry.intent.get("code"))
            and (parsed_args.since is None or entry.at >= parsed_args.since)
        ]
        if self.history.entries and not chosen:
            console.complain(f"None of the {len(self.history.entries)} entries in the journal matches.")
        if parsed_args.formatter == "table" and not parsed_args.columns:
            return _table(chosen)
        return _COLUMNS, [[Field(text(entry[name], parsed_args.formatter)) for name in _COLUMNS] for entry in chosen]


class JournalShow(JournalVerb, ShowOne):
    """Show one change in full, with its evidence and the row as it was before the change."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("entry", metavar="ENTRY", help="id of the entry, from dedangle journal list")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[tuple[str, ...], list[Any]]:
        fields = _fields(entry_of(self.history, parsed_args.entry), self.history)
        return _FIELDS, [Field(text(fields[name], parsed_args.formatter)) for name in _FIELDS]


class Field(FormattableColumn):  # type: ignore[type-arg,unused-ignore]
    """A value, unchanged for scripts. For people None is empty, and a list or row has one line for each item."""

    def human_readable(self) -> str:
        match self._value:
            case None:
                return ""
            case list() as lines:
                return "\n".join(harmless(str(line)) for line in lines)
            case dict() as row:
                return "\n".join(harmless(f"{name}: {'' if value is None else value}") for name, value in row.items())
        return str(self._value)


def add_journal_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--journal",
        metavar="FILE",
        type=Path,
        help="read this journal instead of journal.jsonl in state_dir, for example one copied from a compute host",
    )


def read(given: Path | None, state_dir: Path) -> History:
    """Return the given journal or the one in state_dir, and print a message for each line that cannot be read.

    Raises UsageError if the given file does not exist or a file cannot be read.
    """
    path = given or state_dir / journal.NAME
    try:
        history = journal.read(path)
    except FileNotFoundError:
        if given:
            raise UsageError(f"There is no journal {path}.") from None
        console.complain(f"There is no journal {path} yet: dedangle has made no changes on this machine.")
        return History()
    except OSError as error:
        raise UsageError(f"The journal {path} cannot be read: {error.strerror}.") from error
    for place in history.unreadable:
        console.complain(f"This line is not a journal entry: {place}")
    return history


def entry_of(history: History, ident: str) -> Entry:
    """Return the entry of that id; raise UsageError if there is none."""
    for entry in history.entries:
        if entry.id == ident:
            return entry
    raise UsageError(f"The journal has no entry {ident}. Look it up with: dedangle journal list")


def _table(chosen: Sequence[dict[str, Any]]) -> table.Table:
    changes = ["\n".join([row["code"], f"{row['door']}: {row['outcome']}", *_partners(row)]) for row in chosen]
    subjects = [
        table.Subject(row["server_id"] or "", row["server_name"], row["volume_id"] or "", row["volume_name"])
        for row in chosen
    ]
    entries = [f"{row['entry']}\n{row['at']}" for row in chosen]
    return table.fitted({"entry": entries, "change": changes}, subjects, {}, console.columns())


def _partners(fields: dict[str, Any]) -> list[str]:
    """Return which entry this one undoes, and which one undid it."""
    words = {"undoes": "undoes", "undone_by": "undone by"}
    return [f"{what} {fields[name]}" for name, what in words.items() if fields[name]]


def _fields(entry: Entry, history: History) -> dict[str, Any]:
    intent, outcome = entry.intent, entry.outcome
    return {
        **dict.fromkeys(_FIELDS),
        **intent,
        "entry": entry.id,
        "at": times.utc(entry.at),
        "door": (intent or outcome).get("door"),
        "run_id": (intent or outcome).get("run_id"),
        "outcome": outcome.get("outcome", "unfinished"),
        "outcome_at": times.utc(times.parse(outcome["at"])) if outcome else None,
        "detail": outcome.get("detail"),
        "undone_by": history.undone_by.get(entry.id),
    }


def _is_of(entry: Entry, what: str, wanted: str | None) -> bool:
    """Whether an entry is about the server or volume with the wanted id, short id or name. True if none is wanted."""
    ident, name = (entry.intent.get(f"{what}_{of}") or "" for of in ("id", "name"))
    if wanted is None or wanted in (ident, name):
        return True
    return is_short_id(wanted) and ident.startswith(wanted.lower())
