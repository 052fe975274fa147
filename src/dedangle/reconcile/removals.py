# SPDX-License-Identifier: Apache-2.0
"""Carry out a plan for many servers, within the removal limit; each server is judged again before its writes."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from multiprocessing.pool import ThreadPool

from dedangle.core import planning
from dedangle.core.decisions import Finding, FindingKey, Outcome, Result
from dedangle.core.planning import Limits, Scope
from dedangle.core.records import Reading
from dedangle.core.run import Run
from dedangle.core.times import utc
from dedangle.reconcile.server import Judged, Reconciler, UnpreparedError
from dedangle.reconcile.sweep import Progress
from dedangle.state.journal import Journal
from dedangle.systems import ports


@dataclasses.dataclass(frozen=True, kw_only=True)
class Removals:
    """Carries out a plan for many servers: stops a server if needed, records an instance action, removes rows."""

    reconciler: Reconciler
    journal: Journal
    actions: ports.Actions
    limits: Limits
    totals: Callable[[Sequence[Finding], Limits], Reading[Counter[Scope]]]
    """Returns the number of live attachments in the scopes of the removals."""
    stopped_server: Callable[[str, Journal], contextlib.AbstractContextManager[None]] | None = None
    """Stops the server for the duration of the block; may raise UnpreparedError."""
    out_of_time: Callable[[], bool] = lambda: False
    """Whether the time budget is used up, so that no other server may be started."""
    wanted: Callable[[Finding], bool] = lambda _: True
    """Whether a finding that appears only after a removal must be carried out too."""
    unchanged_since: Callable[[FindingKey], datetime | None] = lambda _: None
    """When an earlier run first ended a change as changed-meanwhile with exactly these rows; None if none did."""
    concurrency: int = 1
    """Number of servers to clean at the same time. With 1, a signal also interrupts the reads of the server."""

    def carry_out(self, judged: Iterable[Judged], run: Run, progress: Progress) -> None:
        """Make the planned changes unless the removal limit forbids them; each server is judged again before it."""
        acting = [one for one in judged if one.changes]
        planned_servers = self._without_project(acting, Counter(), run)
        counted = self.totals([finding for one in planned_servers for finding in one.changes], self.limits)
        if not counted.complete:
            run.miss([f"the removal limit ({counted.why}), so nothing was removed"])
            return
        (totals,) = counted.rows
        if len(planned_servers) == len(acting):
            planned_servers = self._without_project(planned_servers, totals, run)
        planned = self._counted(planned_servers)
        run.refusal = planning.refusal(planned, self.limits, totals)
        if run.refusal:
            return
        allowed = self._with_retries(planned_servers, planned, totals, run)
        left = _RemovalsLeft(planning.removals_left(allowed, self.limits, totals))
        keys = {finding.key for finding in allowed}
        planned_servers = [one for each in planned_servers if (one := each.of(lambda it: it.key in keys)).changes]
        numbers = itertools.count(1)
        ended: list[BaseException] = []

        def clean(one: Judged) -> bool:
            """Clean the server, and return whether it was started. An exception also stops the other threads."""
            if ended or self.out_of_time():
                return False
            try:
                progress("Cleaning servers", next(numbers), len(planned_servers))
                self._clean(one, run, left)
            except UnpreparedError as error:
                failed = Outcome(result=Result.FAILED, detail=str(error))
                run.outcomes.update((finding.key, failed) for finding in one.changes)
            except BaseException as error:  # noqa: BLE001  # raised again when every thread has finished its change
                ended.append(error)
            return True

        with contextlib.ExitStack() as around:
            begun: Iterable[bool] = map(clean, planned_servers)
            if self.concurrency > 1:
                # The threads handle a signal, and this thread waits until each has finished its change.
                around.enter_context(self.reconciler.shield())
                begun = around.enter_context(ThreadPool(self.concurrency)).imap_unordered(clean, planned_servers)
            not_begun = sum(not each for each in begun)
            if ended:
                raise ended[0]
        if not_begun:
            run.miss([f"the removals of {not_begun} servers (time budget used up). A later run makes them"])

    def _without_project(self, servers: list[Judged], totals: Counter[Scope], run: Run) -> list[Judged]:
        """Return the servers without those of a single project that exceeds its limit, and report that project."""
        found = planning.project_to_leave_out(self._counted(servers), self.limits, totals)
        if found is None:
            return servers
        project_id, why = found
        rest = [one for one in servers if all(finding.project_id != project_id for finding in one.changes)]
        if rest:
            run.trouble(f"Nothing was removed in project {project_id or 'none'}: {why}")
        # If nothing else is planned, the removal limit refuses the whole run.
        return rest or servers

    def _counted(self, servers: Iterable[Judged]) -> list[Finding]:
        """Return the changes that the limits count, without those that an earlier run ended as changed-meanwhile."""
        changes = (finding for one in servers for finding in one.changes)
        return [finding for finding in changes if self.unchanged_since(finding.key) is None]

    def _with_retries(
        self, servers: Iterable[Judged], planned: Sequence[Finding], totals: Counter[Scope], run: Run
    ) -> list[Finding]:
        """Return the plan with the changes that an earlier run did not make, as many as the limits allow.

        Retries are not counted at first. Otherwise changes that fail in every run could use up the limit permanently.
        """
        retries = [
            finding for one in servers for finding in one.changes if self.unchanged_since(finding.key) is not None
        ]
        allowed = list(planned)
        for number, finding in enumerate(retries):
            if planning.refusal([*allowed, finding], self.limits, totals):
                run.miss([f"{len(retries) - number} changes that an earlier run did not make (removal limit)"])
                break
            allowed.append(finding)
        return allowed

    def _note_unchanged(self, finding: Finding, outcome: Outcome, run: Run) -> None:
        """Report a change that ended as changed-meanwhile again although its rows are the same; later runs fail too."""
        since = self.unchanged_since(finding.key)
        if since is None or outcome.result is not Result.CHANGED_MEANWHILE:
            return
        what = f"Server {finding.server_id}: {finding.remedy} of volume {finding.volume_id}"
        run.trouble(
            f"{what} was not made, as at {utc(since)}, although its rows are the same: {outcome.detail}. "
            f"Run: dedangle audit --server {finding.server_id} --all"
        )

    def _clean(self, one: Judged, run: Run, left: _RemovalsLeft) -> None:
        with contextlib.ExitStack() as around:
            if self.stopped_server and self.reconciler.counts_on_stop(one):
                around.enter_context(self.stopped_server(one.seen.server_id, self.journal))
            recorded = around.enter_context(_Recorded(self, one, run))
            reconciler = self.reconciler.without_restart()
            tried = reconciler.execute(one, self.journal, more=left.take, prepare=recorded.begin, wanted=self.wanted)
            for finding, outcome in around.enter_context(contextlib.closing(tried)):
                run.add([finding])
                run.outcomes[finding.key] = outcome
                self._note_unchanged(finding, outcome, run)
                recorded.outcomes.append((finding, outcome))


class _RemovalsLeft:
    """The number of removals that the limit allows in addition to the plan, shared by the threads."""

    def __init__(self, left: int) -> None:
        self._left = left
        self._lock = threading.Lock()

    def take(self, wanted: int) -> int:
        with self._lock:
            taken = min(wanted, self._left)
            self._left -= taken
            return taken


class _Recorded:
    """The instance action of a server. It starts just before the first write, so it only exists for real changes."""

    def __init__(self, removals: Removals, one: Judged, run: Run) -> None:
        self._actions, self._shield = removals.actions, removals.reconciler.shield
        self._server, self._run = one.server, run
        self._begun = False
        self.outcomes: list[tuple[Finding, Outcome]] = []

    def begin(self, _: Finding) -> None:
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
        # A finding without an outcome was interrupted by an error.
        succeeded = bool(results) and all(each.is_done for each in results)
        with self._shield(even_after_signal=True):
            refusal = self._actions.finish(self._server, succeeded=succeeded, details=details)
            if refusal:
                self._run.trouble(f"The instance action of server {self._server.id} could not be finished: {refusal}.")
