# SPDX-License-Identifier: Apache-2.0
"""The first half of every verb: judge servers, and remember when each finding was first seen."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from dedangle.core.decisions import Finding
from dedangle.core.planning import Limits, Scope
from dedangle.core.records import Reading, Refusal
from dedangle.core.run import Run
from dedangle.core.sharding import WHOLE, Shard
from dedangle.reconcile import sweep
from dedangle.reconcile.screen import Gathered, Screen
from dedangle.reconcile.server import Judged, Reconciler
from dedangle.reconcile.stuck import StuckVolumes
from dedangle.reconcile.suspects import Suspects
from dedangle.reconcile.sweep import Progress
from dedangle.state.sightings import Sightings
from dedangle.systems import ports


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inspection:
    """Judges servers and stores the sightings of their findings."""

    nova: ports.Fleet
    reconciler: Reconciler
    sightings: Sightings
    clock: Callable[[], datetime]
    progress: Progress
    complain: Callable[[str], None]
    """Called with a sentence if the sightings could not be written."""
    stuck_volumes: StuckVolumes
    concurrency: int = 1
    """Number of servers to judge at the same time."""

    def of_volumes(
        self, volume_ids: Iterable[str], run: Run, wanted: Callable[[Finding], bool] = lambda _: True
    ) -> list[Finding]:
        """Judge the volumes themselves, and add the stuck and wanted ones to the run."""
        found = []
        for volume_id in volume_ids:
            finding = self.stuck_volumes.audit(volume_id)
            if isinstance(finding, Refusal):
                run.miss([f"volume {volume_id}: {finding}"])
            elif finding is not None and wanted(finding):
                found.append(finding)
        run.add(found)
        return found

    def of_servers(
        self, server_ids: Sequence[str], run: Run, wanted: Callable[[Finding], bool] = lambda _: True
    ) -> list[Judged]:
        """Judge the servers, and add the wanted findings to the run."""
        judged = list(
            sweep.judge_servers(
                server_ids, self.reconciler, run, self.progress, wanted=wanted, concurrency=self.concurrency
            )
        )
        self._remember(judged, lambda _: False)
        run.servers = len(judged)
        run.volumes = len({each.volume_id for one in judged for each in one.findings if wanted(each)})
        return judged

    def of_fleet(
        self,
        bulk: ports.Bulk,
        run: Run,
        *,
        shard: Shard = WHOLE,
        wanted: Callable[[Finding], bool] = lambda _: True,
        out_of_time: Callable[[], bool] = lambda: False,
        grace: timedelta = timedelta(),
    ) -> Fleet | None:
        """Read the cloud in bulk and judge its suspects; None if nothing could be judged. The run gets the reasons."""
        began = self.clock()
        judged: list[Judged] = []
        with Gathered(shard) as gathered:
            screen = sweep.read_screen(self.nova, bulk, self.reconciler, run, self.progress, gathered, self.concurrency)
            if screen is None:
                return None
            run.paired, run.servers, run.volumes = screen.paired, screen.servers, screen.volumes
            run.add(each for each in screen.ownerless if wanted(each))
            suspects = self.sightings.least_recent_first(screen.suspects, self.clock())
            at_once = Suspects(self.nova, bulk, gathered, self.reconciler, began, self.concurrency)
            try:
                # After a signal, the servers that were already judged are kept. The rows of all would need too much
                # memory.
                judged.extend(
                    one.without_rows()
                    for one in sweep.judge_servers(
                        suspects,
                        self.reconciler,
                        run,
                        self.progress,
                        wanted=wanted,
                        out_of_time=out_of_time,
                        concurrency=self.concurrency,
                        auditors=at_once.auditors(suspects),
                    )
                )
            finally:
                self._remember(judged, self._beyond_suspicion(screen, shard))
        if screen.every_cell_read and shard == WHOLE:
            # Any row in the cloud may explain a volume, so a stuck volume needs a read of the whole cloud.
            candidates = self.stuck_volumes.candidates(screen)
            if not candidates.complete:
                run.miss([f"volumes that may be stuck: {candidates.why}"])
            self.of_volumes(itertools.takewhile(lambda _: not out_of_time(), candidates.rows), run, wanted)
        unjudged = set(screen.suspects).difference(one.seen.server_id for one in judged)
        return Fleet(judged, screen, self.nova, shard, self.sightings.unjudged_removals(unjudged, self.clock() - grace))

    def _remember(self, judged: Sequence[Judged], quiet: Callable[[str], bool]) -> None:
        """Store when each finding was first seen. If that fails, the grace period starts again in each run.

        `quiet` returns whether the bulk read found nothing about a server.
        """
        read = {one.seen.server_id for one in judged if not one.unread}
        try:
            self.sightings.remember(
                (finding for one in judged for finding in one.findings),
                tried={one.seen.server_id for one in judged},
                known=lambda server_id: server_id in read or quiet(server_id),
                now=self.clock(),
            )
        except OSError as error:
            self.complain(f"The sightings could not be written: {error}. Until this is fixed, no grace period passes.")

    def _beyond_suspicion(self, screen: Screen, shard: Shard) -> Callable[[str], bool]:
        """Return a function that tests whether the bulk read of the shard found nothing about a server."""
        held = frozenset(screen.suspects)
        read = None if screen.every_cell_read else frozenset(self.nova.at_home(self.sightings.server_ids()).rows)
        return lambda server_id: (
            shard.holds(server_id) and server_id not in held and (read is None or server_id in read)
        )


@dataclasses.dataclass(frozen=True)
class Fleet:
    """The suspects of the cloud that were judged within the time budget."""

    judged: list[Judged]
    screen: Screen
    nova: ports.Fleet
    shard: Shard
    unjudged_removals: int
    """Known removals on suspects that there was no time to judge."""

    def totals(self, planned: Sequence[Finding], limits: Limits) -> Reading[Counter[Scope]]:
        """Return the totals for the percentage of the removal limit."""
        return sweep.totals(self.screen, self.nova, self.shard, planned, limits)
