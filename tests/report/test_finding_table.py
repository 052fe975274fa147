# SPDX-License-Identifier: Apache-2.0
"""The table of findings fits 80 columns, whatever is in it."""

from __future__ import annotations

import argparse
import io
import uuid

import pytest
import wcwidth
from cliff.formatters.table import TableFormatter
from runs import HOSTILE, finding, hostile, many, run_of

from dedangle.core.decisions import Outcome, Result
from dedangle.core.findings import TABLE
from dedangle.core.ids import is_short_id
from dedangle.core.run import Run
from dedangle.core.text import harmless
from dedangle.report.table import Subject, fitted, table

LONG = "a-very-long-name-of-a-server-that-a-tenant-chose-" * 5
WIDE = "東京の大きなサーバー" * 10


def printed(run: Run, width: int | None = None) -> list[str]:
    columns, rows = table(run, run.listed(True), width)
    out = io.StringIO()
    plain = argparse.Namespace(print_empty=False, max_width=0, fit_width=False)
    TableFormatter().emit_list(columns, rows, out, plain)
    return out.getvalue().splitlines()


def tried(run: Run) -> Run:
    for number, each in enumerate(run.findings.values()):
        run.outcomes[each.key] = Outcome(result=list(Result)[number % len(Result)])
    return run


@pytest.mark.parametrize("name", ["web-1", LONG, WIDE, "", None])
@pytest.mark.parametrize("is_tried", [False, True])
def test_it_fits_80_columns(name: str | None, is_tried: bool) -> None:
    run = run_of(*(finding(kind.code, 5, server_name=name, volume_name=name) for kind in TABLE))
    lines = printed(tried(run) if is_tried else run)
    assert {wcwidth.wcswidth(line) for line in lines} == {wcwidth.wcswidth(lines[0])}
    assert wcwidth.wcswidth(lines[0]) <= 80


def test_ids_that_are_none_and_hostile_names_fit_too() -> None:
    run = hostile()
    run.add([finding("attachment-unknown-owner", server_id=str(uuid.UUID(int=7)).upper())])
    lines = printed(run)
    assert max(map(wcwidth.wcswidth, lines)) <= 80
    assert all(line.isprintable() for line in lines)
    for text in HOSTILE:
        assert harmless(text)[:10] in "\n".join(lines)


def test_short_ids_are_those_of_the_list() -> None:
    run = many(200)
    _, rows = table(run, run.listed(True))
    for row, each in zip(rows, run.listed(True), strict=True):
        # These ids are so much alike that the short ones are wrapped.
        *lines, name = row[1].split("\n")
        short = "".join(lines)
        assert is_short_id(short) or short == each.server_id
        assert {other.server_id for other in run.findings.values() if other.server_id.startswith(short)} == {
            each.server_id
        }
        assert name == each.server_name


def test_the_last_column_is_the_outcome_once_something_was_tried() -> None:
    one, other = finding("link-mismatch", 1), finding("link-mismatch", 2)
    run = run_of(one, other)
    assert [row[-1] for row in table(run, run.listed())[1]] == ["report", "report"]
    run.outcomes[one.key] = Outcome(result=Result.CHANGED_MEANWHILE)
    columns, rows = table(run, run.listed())
    assert columns == ("code", "server", "volume", "outcome")
    assert [row[-1] for row in rows] == ["changed-meanwhile", "report"]


@pytest.mark.parametrize("width", [40, 80, 119, 120, 200])
@pytest.mark.parametrize("name", ["web-1", LONG, WIDE])
def test_it_takes_no_more_than_the_terminal_has(width: int, name: str) -> None:
    run = run_of(*(finding(kind.code, 5, server_name=name, volume_name=name) for kind in TABLE))
    run.project_names = {each.project_id or "": name for each in run.findings.values()}
    assert max(map(wcwidth.wcswidth, printed(run, width))) <= max(width, 80)


def test_a_wide_terminal_shows_whole_names_with_project_and_host() -> None:
    name = "a-name-that-80-columns-do-not-hold" * 2
    one = finding("link-mismatch", server_name=name)
    run = run_of(one, project_names={one.project_id: "shop"})
    narrow, wide = ("\n".join(printed(run, width)) for width in (80, 200))
    assert [text in narrow for text in (name, "shop", "compute-0")] == [False] * 3
    assert [text in wide for text in (name, "shop", "compute-0")] == [True] * 3


def test_changes_of_a_journal_fit_80_columns() -> None:
    entries = ["0123456789ab-1\n2026-11-26T05:38:49Z"] * len(TABLE)
    changes = [f"{kind.code}\ncommand: changed-meanwhile" for kind in TABLE]
    subjects = [Subject(str(uuid.UUID(int=number)), LONG, "", None) for number in range(len(TABLE))]
    columns, rows = fitted({"entry": entries, "change": changes}, subjects, {}, None)
    out = io.StringIO()
    TableFormatter().emit_list(columns, rows, out, argparse.Namespace(print_empty=False, max_width=0, fit_width=False))
    assert max(map(len, out.getvalue().splitlines())) <= 80
