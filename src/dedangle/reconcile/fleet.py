# SPDX-License-Identifier: Apache-2.0
"""Many servers: a bulk read finds the suspects, and each is then reconciled with fresh reads."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.pool import AsyncResult, ThreadPool
from typing import Protocol

from dedangle.core import planning
from dedangle.core.packing import Page
from dedangle.core.planning import Limits, Scope
from dedangle.core.records import Finding, Outcome, Reading, Result
from dedangle.core.sharding import WHOLE, Shard
from dedangle.reconcile.screen import Gathered, Screen
from dedangle.reconcile.server import Judged, Reconciler, UnpreparedError
from dedangle.reconcile.spool import NoRoomError
from dedangle.report.account import Account
from dedangle.state.journal import Journal
from dedangle.systems import ports


class Progress(Protocol):
    def __call__(self, what: str, done: int = 0, total: int = 0) -> None:
        """Told of each step; done and total count servers where they are not 0."""


def read_screen(
    nova: ports.Fleet,
    cinder: ports.Bulk,
    reconciler: Reconciler,
    account: Account,
    say: Progress,
    shard: Shard = WHOLE,
) -> Screen | None:
    """Read both sides in bulk; the account names what is not read, and None says that nothing can be judged.

    Each attachment of a cell that is silent looks like a left-over. So only those servers are suspects then that Nova
    puts into another cell.
    """
    silent: dict[str, str] = {}

    def heard(cell: str, pages: Iterator[Reading[Page]]) -> Iterator[Reading[Page]]:
        for answer in pages:
            if not answer.complete:
                silent[cell] = answer.why
                return
            yield answer

    say("Reading Nova's servers and mappings in every cell, and Cinder's attachments and volumes")
    with Gathered(shard) as gathered:
        try:
            cells = [heard(cell, pages) for cell, pages in nova.bulk().items()]
            unread = gather([*cells, *cinder.bulk()], gathered)
            for cell, why in silent.items():
                gathered.forget(cell)
                nova.leave_out(cell, why)
            # What cell0 has was never on a host, so that a fault of it is one of the control plane's.
            unread = unread or silent.get(nova.cell0 or "", "")
            if not unread and gathered.has_links:
                unread = reconciler.doubt()
            if not unread:
                screen = _with_sharers(gathered.screen(), cinder, account)
                return _within_sight(screen, silent, nova, account) if silent else screen
        except NoRoomError as error:
            unread = str(error)
    account.miss([f"every server: {unread}"])
    return None


def _with_sharers(screen: Screen, cinder: ports.Bulk, account: Account) -> Screen:
    """Suspect the servers that share a volume, unless it is multi-attach: two of them may write to one disk."""
    answer = cinder.multiattach(screen.shared)
    if not answer.complete:
        account.miss([f"whether servers share volumes that are not multi-attach: {answer.why}"])
    return screen.suspecting_sharers_of(screen.shared.keys() - set(answer.rows)) if answer.complete else screen


def _within_sight(screen: Screen, silent: dict[str, str], nova: ports.Fleet, account: Account) -> Screen | None:
    """Keep the suspects that are in a cell that was read; None where Nova does not tell which those are."""
    home = nova.at_home(screen.suspects)
    if not home.complete:
        account.miss([f"every server: {home.why}"])
        return None
    account.miss(f"every server of {cell}: {why}" for cell, why in silent.items())
    read = frozenset(home.rows)
    suspects = [each for each in screen.suspects if each in read]
    strays = len(screen.suspects) - len(suspects)
    if strays:
        account.miss([f"servers that hold attachments and are in none of the cells that answered: {strays}"])
    return dataclasses.replace(screen, suspects=suspects)


def totals(
    screen: Screen, nova: ports.Fleet, shard: Shard, planned: Iterable[Finding], limits: Limits
) -> Reading[Counter[Scope]]:
    """What the fuse counts in per cent of; projects are counted only where the removals are, and only far enough."""
    planned = tuple(planned)
    found = Counter(screen.totals)
    if not planning.refusal(planned, limits, found):
        for project_id in sorted({each.project_id for each in planned if each.project_id}):
            answer = nova.mappings_of_project(project_id, shard.holds, planning.enough(limits))
            if not answer.complete:
                return Reading.unread(answer.why)
            found["project", project_id] = sum(answer.rows)
    return Reading((found,))


def gather(reading: list[Iterator[Reading[Page]]], gathered: Gathered) -> str:
    """Take all pages in; returns why one was not read, or an empty string."""
    # In turns, so that each database works on its next page while the page of another one is taken in.
    while reading:
        for each in tuple(reading):
            answer = next(each, None)
            if answer is None:
                reading.remove(each)
            elif not answer.complete:
                return answer.why
            else:
                gathered.take(answer.rows)
    return ""


def audit(
    server_ids: Sequence[str],
    reconciler: Reconciler,
    account: Account,
    say: Progress,
    *,
    wanted: Callable[[Finding], bool] = lambda _: True,
    over: Callable[[], bool] = lambda: False,
    concurrency: int = 1,
) -> Iterator[Judged]:
    """Judge each server with fresh reads and enter what is found; the sweep's first half, and all of an audit.

    Where its time is over before the last server was begun, the account names how many are left.
    """
    done = 0
    # One that a signal ends without waiting for what its threads were asking; those of concurrent.futures are joined.
    with ThreadPool(concurrency) as pool:
        for one in _ahead(pool, reconciler, server_ids, over, 2 * concurrency):
            done += 1
            say("Judging servers", done, len(server_ids))
            account.add(each for each in one.findings if wanted(each))
            account.miss(f"server {one.seen.server_id}: {why}" for why in one.unread)
            yield one
    if done < len(server_ids):
        account.miss(
            [
                f"{len(server_ids) - done} of {len(server_ids)} suspect servers, for the time budget was over. "
                "The next run begins with them"
            ]
        )


def _ahead(
    pool: ThreadPool, reconciler: Reconciler, server_ids: Iterable[str], over: Callable[[], bool], most: int
) -> Iterator[Judged]:
    """Judge in the pool, at most so many servers ahead of the one that is asked for; in the order of the servers."""
    begun: deque[AsyncResult[Judged]] = deque()
    for server_id in server_ids:
        if over():
            break
        begun.append(pool.apply_async(reconciler.audit, (server_id,)))
        if len(begun) == most:
            yield begun.popleft().get()
    while begun:
        yield begun.popleft().get()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Execution:
    """How the removals of a run are done, and what surrounds those of each server."""

    reconciler: Reconciler
    journal: Journal
    actions: ports.Actions
    limits: Limits
    totals: Callable[[Sequence[Finding], Limits], Reading[Counter[Scope]]]
    """How many live attachments there are where the removals would be."""
    off: Callable[[str, Journal], contextlib.AbstractContextManager[None]] | None = None
    """Stops the server while the block lasts; may raise UnpreparedError."""
    over: Callable[[], bool] = lambda: False
    """Whether no other server may be begun."""
    concurrency: int = 1
    """Servers to clean at once; one is cleaned in the thread of the caller, and a signal ends its reads too."""

    def run(self, judged: Iterable[Judged], account: Account, say: Progress) -> None:
        """Remove what was found unless the fuse trips; each server is judged anew right before its writes."""
        doomed = [(each, planning.changes(each.findings)) for each in judged]
        planned = [finding for _, plan in doomed for finding in plan]
        counted = self.totals(planned, self.limits)
        if not counted.complete:
            account.miss([f"whether the fuse bears the removals, so that none was made: {counted.why}"])
            return
        (totals,) = counted.rows
        account.refusal = planning.refusal(planned, self.limits, totals)
        if account.refusal:
            return
        doomed = [(each, plan) for each, plan in doomed if plan]
        spare = _Spare(planning.spare(planned, self.limits, totals))
        numbers = itertools.count(1)
        ended: list[BaseException] = []

        def clean(doomed_one: tuple[Judged, Sequence[Finding]]) -> bool:
            """Whether the server was begun; what is raised ends the others too, each where it may end."""
            if ended or self.over():
                return False
            one, plan = doomed_one
            try:
                say("Cleaning servers", next(numbers), len(doomed))
                self._clean(one, account, spare)
            except UnpreparedError as error:
                failed = Outcome(result=Result.FAILED, detail=str(error))
                account.outcomes.update((each.key, failed) for each in plan)
            except BaseException as error:
                ended.append(error)
            return True

        with contextlib.ExitStack() as around:
            begun: Iterable[bool] = map(clean, doomed)
            if self.concurrency > 1:
                # A signal is told to the threads, and this one waits until each has come to a boundary.
                around.enter_context(self.reconciler.shield())
                begun = around.enter_context(ThreadPool(self.concurrency)).imap_unordered(clean, doomed)
            left = sum(not each for each in begun)
            if ended:
                raise ended[0]
        if left:
            account.miss([f"the removals of {left} servers, for the time budget was over. A later run does them"])

    def _clean(self, one: Judged, account: Account, spare: _Spare) -> None:
        with contextlib.ExitStack() as around:
            if self.off and self.reconciler.counts_on_stop(one):
                around.enter_context(self.off(one.seen.server_id, self.journal))
            recorded = around.enter_context(_Recorded(self, one, account))
            reconciler = self.reconciler.without_restart()
            tried = reconciler.execute(one, self.journal, spare=spare.take, prepare=lambda _: recorded.begin())
            for finding, outcome in around.enter_context(contextlib.closing(tried)):
                account.add([finding])
                account.outcomes[finding.key] = outcome
                recorded.outcomes.append((finding, outcome))


class _Spare:
    """How many more removals than planned the fuse bears; threads take of it."""

    def __init__(self, left: int) -> None:
        self._left = left
        self._lock = threading.Lock()

    def take(self, wanted: int) -> int:
        with self._lock:
            taken = min(wanted, self._left)
            self._left -= taken
            return taken


class _Recorded:
    """The instance action of a server: begun right before the first write, so that it tells of real changes only."""

    def __init__(self, execution: Execution, one: Judged, account: Account) -> None:
        self._actions, self._shield = execution.actions, execution.reconciler.shield
        self._server, self._account = one.server, account
        self._begun = False
        self.outcomes: list[tuple[Finding, Outcome]] = []

    def begin(self) -> None:
        if self._begun or self._server is None:
            return
        others = self._actions.begin(self._server)
        if not others.complete:
            raise UnpreparedError(f"no instance action could be recorded: {others.why}")
        if others.rows:
            raise UnpreparedError(str(others.rows[0]), Result.CHANGED_MEANWHILE)
        self._begun = True

    def __enter__(self) -> _Recorded:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._begun or self._server is None:
            return
        results = [outcome.result for _, outcome in self.outcomes]
        details = "; ".join(
            f"{finding.remedy} of volume {finding.volume_id}: {outcome.result}" for finding, outcome in self.outcomes
        )
        # A finding that was begun and has no outcome was cut short by an error.
        succeeded = bool(results) and all(each in (Result.REMOVED, Result.RELINKED) for each in results)
        with self._shield(way_out=True):
            why = self._actions.finish(self._server, succeeded=succeeded, details=details)
            if why:
                self._account.trouble(f"Server {self._server.id}: its instance action stays open: {why}")
