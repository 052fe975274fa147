# SPDX-License-Identifier: Apache-2.0
"""Many servers: a bulk read finds the suspects, and each is then reconciled with fresh reads."""

from __future__ import annotations

import dataclasses
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.pool import AsyncResult, ThreadPool
from typing import Protocol

from dedangle.core import planning
from dedangle.core.decisions import Finding
from dedangle.core.packing import Page
from dedangle.core.planning import Limits, Scope
from dedangle.core.records import Reading, Refusal
from dedangle.core.run import Run
from dedangle.core.sharding import WHOLE, Shard
from dedangle.reconcile.screen import Gathered, Screen
from dedangle.reconcile.server import Judged, Reconciler
from dedangle.reconcile.spool import NoRoomError
from dedangle.systems import ports


class Progress(Protocol):
    def __call__(self, what: str, done: int = 0, total: int = 0) -> None:
        """Told of each step; done and total count servers where they are not 0."""


def read_screen(
    nova: ports.Fleet,
    cinder: ports.Bulk,
    reconciler: Reconciler,
    run: Run,
    progress: Progress,
    shard: Shard = WHOLE,
) -> Screen | None:
    """Read both sides in bulk; the run names what is not read, and None says that nothing can be judged.

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

    progress("Reading Nova's servers and mappings in every cell, and Cinder's attachments and volumes")
    with Gathered(shard) as gathered:
        try:
            cells = [heard(cell, pages) for cell, pages in nova.bulk().items()]
            unread = gather([*cells, *cinder.bulk()], gathered)
            for cell, why in silent.items():
                gathered.forget(cell)
                nova.leave_out(cell, why)
            # What cell0 has was never on a host, so that a fault of it is one of the control plane's.
            if not unread and nova.cell0 in silent:
                unread = Refusal(silent[nova.cell0])
            if not unread and gathered.has_links:
                unread = reconciler.doubt()
            if not unread:
                screen = _with_sharers(gathered.screen(), cinder, run)
                return _within_sight(screen, silent, nova, run) if silent else screen
        except NoRoomError as error:
            unread = Refusal(str(error))
    run.miss([f"every server: {unread}"])
    return None


def _with_sharers(screen: Screen, cinder: ports.Bulk, run: Run) -> Screen:
    """Suspect the servers that share a volume, unless it is multi-attach: two of them may write to one disk."""
    answer = cinder.multiattach(screen.shared)
    if not answer.complete:
        run.miss([f"whether servers share volumes that are not multi-attach: {answer.why}"])
    return screen.suspecting_sharers_of(screen.shared.keys() - set(answer.rows)) if answer.complete else screen


def _within_sight(screen: Screen, silent: dict[str, str], nova: ports.Fleet, run: Run) -> Screen | None:
    """Keep the suspects that are in a cell that was read; None where Nova does not tell which those are."""
    home = nova.at_home(screen.suspects)
    if not home.complete:
        run.miss([f"every server: {home.why}"])
        return None
    run.miss(f"every server of {cell}: {why}" for cell, why in silent.items())
    read = frozenset(home.rows)
    suspects = [server_id for server_id in screen.suspects if server_id in read]
    strays = len(screen.suspects) - len(suspects)
    if strays:
        run.miss([f"servers that hold attachments and are in none of the cells that answered: {strays}"])
    return dataclasses.replace(screen, suspects=suspects)


def totals(
    screen: Screen, nova: ports.Fleet, shard: Shard, planned: Iterable[Finding], limits: Limits
) -> Reading[Counter[Scope]]:
    """What the fuse counts in per cent of; projects are counted only where the removals are, and only far enough."""
    planned = tuple(planned)
    found = Counter(screen.totals)
    if not planning.refusal(planned, limits, found):
        for project_id in sorted({finding.project_id for finding in planned if finding.project_id}):
            answer = nova.mappings_of_project(project_id, shard.holds, planning.enough(limits))
            if not answer.complete:
                return Reading.unread(answer.why)
            found["project", project_id] = sum(answer.rows)
    return Reading((found,))


def gather(reading: list[Iterator[Reading[Page]]], gathered: Gathered) -> Refusal | None:
    """Take all pages in; return why one could not be read."""
    # In turns, so that each database works on its next page while the page of another one is taken in.
    while reading:
        for each in tuple(reading):
            answer = next(each, None)
            if answer is None:
                reading.remove(each)
            elif not answer.complete:
                return Refusal(answer.why)
            else:
                gathered.take(answer.rows)
    return None


def judge_servers(
    server_ids: Sequence[str],
    reconciler: Reconciler,
    run: Run,
    progress: Progress,
    *,
    wanted: Callable[[Finding], bool] = lambda _: True,
    out_of_time: Callable[[], bool] = lambda: False,
    concurrency: int = 1,
) -> Iterator[Judged]:
    """Judge each server with fresh reads and enter what is found; the sweep's first half, and all of an audit.

    Where its time is over before the last server was begun, the run names how many are left.
    """
    done = 0
    # One that a signal ends without waiting for what its threads were asking; those of concurrent.futures are joined.
    with ThreadPool(concurrency) as pool:
        for one in _ahead(pool, reconciler, server_ids, out_of_time, 2 * concurrency):
            done += 1
            progress("Judging servers", done, len(server_ids))
            run.add(finding for finding in one.findings if wanted(finding))
            run.miss(f"server {one.seen.server_id}: {why}" for why in one.unread)
            yield one
    if done < len(server_ids):
        run.miss(
            [
                f"{len(server_ids) - done} of {len(server_ids)} suspect servers (time budget used up). The next run "
                "starts with them"
            ]
        )


def _ahead(
    pool: ThreadPool, reconciler: Reconciler, server_ids: Iterable[str], out_of_time: Callable[[], bool], most: int
) -> Iterator[Judged]:
    """Judge in the pool, at most so many servers ahead of the one that is asked for; in the order of the servers."""
    begun: deque[AsyncResult[Judged]] = deque()
    for server_id in server_ids:
        if out_of_time():
            break
        begun.append(pool.apply_async(reconciler.audit, (server_id,)))
        if len(begun) == most:
            yield begun.popleft().get()
    while begun:
        yield begun.popleft().get()
