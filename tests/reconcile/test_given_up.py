# SPDX-License-Identifier: Apache-2.0
"""A change that is given up in every run is trouble, and keeps nothing else from being made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

from dedangle.core.decisions import Disposition, Finding, FindingKey, Outcome, Remedy, Result, Verdict
from dedangle.core.observations import CinderView, NovaView, Observation
from dedangle.core.planning import Limits
from dedangle.core.records import Reading
from dedangle.core.run import Run
from dedangle.reconcile.removals import Removals
from dedangle.reconcile.server import Judged

YESTERDAY = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
LIMIT = 3
STUCK = range(10)


def judged(number: int) -> Judged:
    server_id = f"server-{number}"
    finding = Finding(
        code="attachment-never-used",
        verdict=Verdict.DANGLING,
        remedy=Remedy.REMOVE_ATTACHMENT,
        disposition=Disposition.REMOVE,
        server_id=server_id,
        volume_id=f"volume-{number}",
    )
    nova = NovaView(server_id=server_id)
    cinder = CinderView(attachments=Reading())
    return Judged((finding,), Observation(server_id=server_id, before=nova, cinder=cinder, after=nova))


class Reconciler:
    """Its host gives up the servers that are stuck, and removes what the others have."""

    def __init__(self) -> None:
        self.tried: list[str] = []

    def without_restart(self) -> Reconciler:
        return self

    def shield(self, **_: object) -> Any:
        raise AssertionError("nothing is recorded")

    def execute(self, one: Judged, *_: object, **__: object) -> Iterator[tuple[Finding, Outcome]]:
        for finding in one.changes:
            self.tried.append(finding.server_id)
            is_stuck = finding.server_id in {f"server-{each}" for each in STUCK}
            result = Result.CHANGED_MEANWHILE if is_stuck else Result.REMOVED
            yield finding, Outcome(result=result, detail="the server is in ERROR" if is_stuck else "")


def carry_out(servers: list[Judged], given_up: set[FindingKey]) -> tuple[Run, list[str]]:
    run, reconciler = Run(run_id="r"), Reconciler()
    Removals(
        reconciler=reconciler,  # type: ignore[arg-type]
        journal=None,  # type: ignore[arg-type]
        actions=None,  # type: ignore[arg-type]
        limits=Limits(max_removals=LIMIT, max_removals_percent=100),
        totals=lambda _, __: Reading((Counter(),)),
        unchanged_since=lambda key: YESTERDAY if key in given_up else None,
    ).carry_out(servers, run, lambda *_: None)
    return run, reconciler.tried


def test_the_first_time_it_is_neither_trouble_nor_a_failure() -> None:
    run, tried = carry_out([judged(0)], set())
    assert (tried, run.complete) == (["server-0"], True)


def test_what_is_given_up_again_is_named_with_the_next_command() -> None:
    stuck = judged(0)
    run, _ = carry_out([stuck], {finding.key for finding in stuck.changes})
    assert not run.complete
    (trouble,) = run.troubles
    assert trouble == (
        "Server server-0: remove-attachment of volume volume-0 was not made, as at 2026-11-22T12:00:00Z, "
        "although its rows are the same: the server is in ERROR. Run: dedangle audit --server server-0 --all"
    )


def test_more_than_the_limit_that_are_given_up_in_every_run_keep_nothing_else_from_being_removed() -> None:
    stuck, fresh = [judged(number) for number in STUCK], [judged(100), judged(101)]
    refused, tried = carry_out([*stuck, *fresh], set())
    assert refused.refusal
    assert tried == []
    run, tried = carry_out([*stuck, *fresh], {finding.key for one in stuck for finding in one.changes})
    assert run.refusal is None
    assert {finding.server_id for finding in run.removed()} == {"server-100", "server-101"}
    # What is tried again does not exceed the limit either, should it go this time.
    assert len(tried) == LIMIT
    assert run.not_checked == ["9 changes that an earlier run did not make (removal limit)"]
