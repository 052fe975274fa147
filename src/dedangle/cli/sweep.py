# SPDX-License-Identifier: Apache-2.0
"""`dedangle sweep`: clean the whole cloud, unattended."""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from pathlib import Path

from dedangle.cli import console, hosts, spans, textfile
from dedangle.cli.changing import ChangingVerb
from dedangle.cli.errors import UsageError
from dedangle.cli.wiring import Wiring
from dedangle.core.decisions import Door
from dedangle.core.run import Run
from dedangle.core.sharding import WHOLE


class Sweep(ChangingVerb):
    """Remove what can be removed unattended, in the whole cloud. Without --execute, only show it."""

    door = Door.SWEEP
    is_unattended = True
    _turn_began: float | None = None
    """When the run took the lock, by time.monotonic()."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--time-budget",
            metavar="TIME",
            type=spans.seconds,
            help="stop between two servers after this time, such as 30m. With --execute, checks stop after half of "
            "this time",
        )
        parser.add_argument(
            "--shard",
            metavar="I/N",
            type=lambda text: spans.shard(text, os.environ),
            default=WHOLE,
            help="only part I of N of the servers, the same servers in every run; auto in a Kubernetes Indexed Job",
        )
        parser.add_argument("--hosts", **hosts.OPTION)
        parser.add_argument(
            "--wait-lock",
            metavar="SECONDS",
            type=int,
            default=0,
            help="how long to wait for another run to end (default: 0)",
        )
        parser.add_argument("--textfile", **textfile.OPTION)
        return parser

    def work(self, args: argparse.Namespace, wiring: Wiring, run: Run) -> None:
        begun, shard = time.monotonic(), args.shard
        with contextlib.ExitStack() as held:
            if args.execute:
                # The lock is taken before the first read, so that a second sweep does not read the whole cloud first.
                self._take_turn(args, wiring, held)
                begun = self._turn_began = time.monotonic()

            def out_of_time(share: float = 1) -> bool:
                return args.time_budget is not None and time.monotonic() - begun >= share * args.time_budget

            def out_of_time_to_look() -> bool:
                # Half of the time is kept for the removals; otherwise no run would reach them.
                return out_of_time(0.5 if args.execute else 1)

            reconciler, concurrency = wiring.reconciler(self.door), wiring.settings.concurrency
            judging = reconciler
            if args.hosts:
                # Their answers prove which disks the suspects have; each removal asks its host again.
                judging, compare = hosts.ask(wiring, reconciler, run, self.progress, out_of_time=out_of_time_to_look)
            fleet = wiring.inspection(judging, self.progress, concurrency=concurrency).of_fleet(
                wiring.bulk,
                run,
                shard=shard,
                out_of_time=out_of_time_to_look,
                grace=wiring.settings.grace,
            )
            if args.hosts:
                compare(lambda finding: shard.holds(finding.server_id or str(finding.host)))
            if fleet is None:
                return
            self.carry_out(
                args,
                wiring,
                reconciler,
                run,
                fleet.judged,
                fleet.totals,
                out_of_time=out_of_time,
                concurrency=concurrency,
                unjudged_removals=fleet.unjudged_removals,
            )

    def conclude(self, args: argparse.Namespace, wiring: Wiring, run: Run, seconds: float) -> None:
        from dedangle.report import exit_codes, metrics

        path = _textfile(args, wiring)
        if path is None:
            return
        with textfile.failure_reported(path):
            metrics.write(
                path,
                run,
                shard=args.shard,
                succeeded=exit_codes.exit_code(run, detailed=False) == exit_codes.DONE,
                max_removals=self.max_removals(args, wiring),
                seconds=seconds,
                lock_age=0 if self._turn_began is None else time.monotonic() - self._turn_began,
                now=wiring.clock(),
            )

    def _take_turn(self, args: argparse.Namespace, wiring: Wiring, held: contextlib.ExitStack) -> None:
        """Lock the whole cloud or one shard; different shards may run at the same time.

        Raises UsageError if the lock cannot be used. Raises AnotherRunError if another run holds it, after the metrics
        have recorded for how long.
        """
        from dedangle.report import metrics
        from dedangle.state.lock import AnotherRunError

        try:
            _lock(args, wiring, held)
        except AnotherRunError as error:
            path = _textfile(args, wiring)
            if path and error.since:
                with textfile.failure_reported(path):
                    metrics.write_lock_age(path, (wiring.clock() - error.since).total_seconds(), args.shard)
            raise


def _textfile(args: argparse.Namespace, wiring: Wiring) -> Path | None:
    """Return the file of the metrics. Shards may share a directory, but not a file."""
    shard = "" if args.shard == WHOLE else f"-{args.shard.index}-of-{args.shard.count}"
    return textfile.path(args, wiring.settings, f"dedangle{shard}.prom")


def _lock(args: argparse.Namespace, wiring: Wiring, held: contextlib.ExitStack) -> None:
    from dedangle.state import coordination, lock

    name = "lock" if args.shard == WHOLE else f"lock-{args.shard.index}-of-{args.shard.count}"
    url, wait = wiring.settings.coordination_url, args.wait_lock
    try:
        if url:
            own = f"dedangle-{name}"
            held.enter_context(coordination.exclusive(url, own, member=wiring.run_id, wait=wait, warn=console.complain))
        else:
            held.enter_context(lock.exclusive(wiring.settings.state_dir, name, wait=wait))
    except coordination.CoordinationError as error:
        raise UsageError(f"{error} Nothing was changed.") from error
    except OSError as error:
        raise UsageError(f"state_dir cannot be used: {error}. Nothing was changed.") from error
