# SPDX-License-Identifier: Apache-2.0
"""Many servers are judged in their order, some at once, until the time is over; and cleaned within the fuse."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from dedangle.core.decisions import Disposition, Finding, Outcome, Result
from dedangle.core.observations import CinderView, NovaView, Observation
from dedangle.core.planning import RUN, Limits
from dedangle.core.records import Reading
from dedangle.core.run import Run
from dedangle.core.sharding import WHOLE
from dedangle.reconcile import removals, sweep
from dedangle.reconcile.screen import Screen
from dedangle.reconcile.server import Judged, Reconciler
from report.runs import finding

SERVERS = [f"server-{number:02}" for number in range(20)]


class Judge:
    """Judges every server consistent, and calls `at` for each."""

    def __init__(self, at: Callable[[str], object] = lambda _: None) -> None:
        self.at = at
        self.begun: list[str] = []

    def audit(self, server_id: str) -> Judged:
        self.begun.append(server_id)
        self.at(server_id)
        nova = NovaView(server_id=server_id)
        cinder = CinderView(attachments=Reading())
        return Judged((), Observation(server_id=server_id, before=nova, cinder=cinder, after=nova))


def judged(judge: Judge, run: Run, **how: Any) -> list[str]:
    say = lambda what, done=0, total=0: None  # noqa: E731
    found = sweep.judge_servers(SERVERS, cast(Reconciler, judge), run, say, **how)
    return [each.seen.server_id for each in found]


@pytest.mark.parametrize("concurrency", [1, 4])
def test_all_of_them_in_their_order(concurrency: int) -> None:
    run = Run(run_id="r")
    assert judged(Judge(), run, concurrency=concurrency) == SERVERS
    assert run.complete


def test_as_many_at_once_as_were_asked_for() -> None:
    # Nobody passes before four have come.
    together = threading.Barrier(4, timeout=30)
    assert judged(Judge(lambda _: together.wait()), Run(run_id="r"), concurrency=4) == SERVERS


def test_no_server_is_begun_when_the_time_is_over_and_those_that_were_count() -> None:
    run, judge = Run(run_id="r"), Judge()
    answers = iter([False] * 5 + [True])
    assert judged(judge, run, concurrency=2, out_of_time=lambda: next(answers)) == SERVERS[:5]
    assert sorted(judge.begun) == SERVERS[:5]
    assert run.not_checked == ["15 of 20 suspect servers (time budget used up). The next run starts with them"]


def test_no_server_is_begun_that_nobody_asks_for_any_more() -> None:
    judge = Judge()
    found = sweep.judge_servers(SERVERS, cast(Reconciler, judge), Run(run_id="r"), lambda *_: None, concurrency=2)
    assert next(found).seen.server_id == SERVERS[0]
    cast(Any, found).close()
    assert len(judge.begun) <= 4


def test_an_error_in_a_thread_is_the_run_s() -> None:
    def fail(server_id: str) -> None:
        if server_id == SERVERS[3]:
            raise RuntimeError(server_id)

    with pytest.raises(RuntimeError, match=SERVERS[3]):
        judged(Judge(fail), Run(run_id="r"), concurrency=4)


class Productive:
    """Each server's removal brings up two more findings, when all of a round of threads have come so far."""

    shield = staticmethod(contextlib.nullcontext)

    def __init__(self, at_once: int) -> None:
        self.together = threading.Barrier(at_once, timeout=30)
        self.extra = itertools.count(1000)

    def without_restart(self) -> Productive:
        return self

    def execute(self, one: Judged, _: object, *, more: Callable[[int], int], **__: object) -> Iterator[Any]:
        removed = Outcome(result=Result.REMOVED)
        yield one.findings[0], removed
        self.together.wait()
        for _ in range(more(2)):
            yield never_used(next(self.extra)), removed


def never_used(number: int) -> Finding:
    return finding("attachment-never-used", number, Disposition.REMOVE)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_the_fuse_bears_no_more_with_several_at_once(concurrency: int) -> None:
    run, judge = Run(run_id="r"), Judge()
    found = [Judged((never_used(number),), judge.audit(str(number)).seen) for number in range(20)]
    cleaning = removals.Removals(
        reconciler=cast(Reconciler, Productive(concurrency)),
        journal=cast(Any, None),
        actions=cast(Any, None),
        limits=Limits(max_removals=27, max_removals_percent=100),
        totals=lambda _, __: Reading((Counter(),)),
        concurrency=concurrency,
    )
    cleaning.carry_out(found, run, lambda *_: None)
    assert {each.key for one in found for each in one.findings} <= run.outcomes.keys()
    assert len(run.outcomes) == 27


class Counting:
    """Nova's side where the fuse asks how much a project has."""

    def __init__(self, answer: Reading[int]) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def mappings_of_project(self, project_id: str, *_: object) -> Reading[int]:
        self.asked.append(project_id)
        return self.answer


def fused(planned: int, nova: Counting) -> Run:
    """Of one project, in a fleet of a million attachments; nothing is there to remove with."""
    run, judge = Run(run_id="r"), Judge()
    screen = Screen([], 0, [], Counter({RUN: 1_000_000}))
    findings = [dataclasses.replace(never_used(number), project_id="P") for number in range(planned)]
    found = [Judged((each,), judge.audit(each.server_id).seen) for each in findings]
    cleaning = removals.Removals(
        reconciler=cast(Any, None),
        journal=cast(Any, None),
        actions=cast(Any, None),
        limits=Limits(max_removals=25, max_removals_percent=2),
        totals=functools.partial(sweep.totals, screen, cast(Any, nova), WHOLE),
        out_of_time=lambda: True,
    )
    cleaning.carry_out(found, run, lambda *_: None)
    assert not run.outcomes
    return run


@pytest.mark.parametrize(("of_cells", "refused"), [((1000, 49), True), ((1000, 50), False), ((999,), False)])
def test_the_fuse_counts_a_project_over_its_cells(of_cells: tuple[int, ...], refused: bool) -> None:
    nova = Counting(Reading(of_cells))
    run = fused(21, nova)
    assert refused == (f"in project P exceed max_removals_percent (2 % of {sum(of_cells)} " in str(run.refusal))
    assert refused == bool(run.refusal)
    assert nova.asked == ["P"]


def test_projects_are_not_counted_where_the_fuse_trips_anyway() -> None:
    nova = Counting(Reading((10**6,)))
    assert "26 removals planned in this run" in str(fused(26, nova).refusal)
    assert not nova.asked


def test_nothing_is_removed_where_a_project_cannot_be_counted() -> None:
    run = fused(1, Counting(Reading.unread("Nova's cell1 did not answer in 60 s")))
    (missed,) = run.not_checked
    assert missed == "the removal limit (Nova's cell1 did not answer in 60 s), so nothing was removed"
