# SPDX-License-Identifier: Apache-2.0
"""Judge many servers: a bulk read finds the suspects, and each suspect is then judged with fresh reads."""

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
from dedangle.core.sharding import Shard
from dedangle.reconcile.screen import Gathered, Screen
from dedangle.reconcile.server import Judged, Reconciler
from dedangle.reconcile.spool import NoRoomError
from dedangle.systems import ports


class Progress(Protocol):
    def __call__(self, what: str, done: int = 0, total: int = 0) -> None:
        """Show a step; `done` and `total` are numbers of servers or hosts, or 0."""


def read_screen(
    nova: ports.Fleet,
    cinder: ports.Bulk,
    reconciler: Reconciler,
    run: Run,
    progress: Progress,
    gathered: Gathered,
    at_once: int = 1,
) -> Screen | None:
    """Read both sides in bulk into `gathered`; None if nothing can be judged. The run gets the reasons.

    Every attachment of a cell that does not answer looks dangling. So if a cell does not answer, only servers that Nova
    has in another cell are suspects. At most `at_once` requests are sent to Cinder at the same time.
    """
    stale = cinder.why_stale(reconciler.clock())
    if stale:
        run.miss([f"every server: {stale}"])
        return None
    silent: dict[str, str] = {}

    def heard(cell: str, pages: Iterator[Reading[Page]]) -> Iterator[Reading[Page]]:
        for answer in pages:
            if not answer.complete:
                silent[cell] = answer.why
                return
            yield answer

    progress("Reading Nova's servers and mappings in every cell, and Cinder's attachments and volumes")
    try:
        cells = [heard(cell, pages) for cell, pages in nova.bulk().items()]
        unread = gather([*cells, *cinder.bulk(lambda: gathered.named, at_once)], gathered)
        for cell, why in silent.items():
            gathered.forget(cell)
            nova.leave_out(cell, why)
        # Servers of cell0 have no host, so its database fails only together with the control plane.
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
    """Add the servers that share a volume that is not multi-attach: two of them may write to one disk."""
    answer = cinder.multiattach(screen.shared)
    if not answer.complete:
        run.miss([f"volumes that several servers share: {answer.why}"])
    return screen.suspecting_sharers_of(screen.shared.keys() - set(answer.rows)) if answer.complete else screen


def _within_sight(screen: Screen, silent: dict[str, str], nova: ports.Fleet, run: Run) -> Screen | None:
    """Keep the suspects in cells that answered; None if Nova does not return the cells of the servers."""
    home = nova.at_home(screen.suspects)
    if not home.complete:
        run.miss([f"every server: {home.why}"])
        return None
    run.miss(f"every server of {cell}: {why}" for cell, why in silent.items())
    read = frozenset(home.rows)
    suspects = [server_id for server_id in screen.suspects if server_id in read]
    strays = len(screen.suspects) - len(suspects)
    if strays:
        run.miss([f"{strays} servers with attachments that are in none of the cells that answered"])
    return dataclasses.replace(screen, suspects=suspects)


def totals(
    screen: Screen, nova: ports.Fleet, shard: Shard, planned: Iterable[Finding], limits: Limits
) -> Reading[Counter[Scope]]:
    """Return the totals for the percentage of the removal limit. Only projects with removals are counted."""
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
    """Store all pages; return why a page could not be read."""
    # One page of each database in turn, so that the other databases prepare their next page meanwhile.
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
    auditors: Iterable[tuple[str, Callable[[str], Judged]]] | None = None,
) -> Iterator[Judged]:
    """Judge each server and add the findings to the run.

    `auditors` has the function that judges each server. Without it each server is judged with fresh reads.

    If the time is used up before all servers are judged, the run gets the number of the others.
    """
    done = 0
    asked = ((server_id, reconciler.audit) for server_id in server_ids) if auditors is None else auditors
    # A signal ends this pool without a wait for its threads; concurrent.futures would wait for them.
    with ThreadPool(concurrency) as pool:
        for one in _ahead(pool, asked, out_of_time, 2 * concurrency):
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
    pool: ThreadPool,
    auditors: Iterable[tuple[str, Callable[[str], Judged]]],
    out_of_time: Callable[[], bool],
    most: int,
) -> Iterator[Judged]:
    """Judge in the pool, at most `most` servers ahead of the consumer; yield in the order of the servers."""
    begun: deque[AsyncResult[Judged]] = deque()
    for server_id, audit in auditors:
        if out_of_time():
            break
        begun.append(pool.apply_async(audit, (server_id,)))
        if len(begun) == most:
            yield begun.popleft().get()
    while begun:
        yield begun.popleft().get()
