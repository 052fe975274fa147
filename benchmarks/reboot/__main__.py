# SPDX-License-Identifier: Apache-2.0
"""Cinder calls and added time of a reboot's clean-up, stock Nova and dedangle side by side in one run.

Each size is rebooted in turn by one and by the other, on one cloud and in one nova-compute process. The time is that of
the clean-up alone, inside nova-compute and under the instance lock.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from dedangle.lab.breakers import Breaker
from dedangle.lab.builders import Builder
from dedangle.lab.cloud import Cloud

HERE = Path(__file__).parent
WAYS = ("stock", "dedangle")


@dataclass
class Bench:
    cloud: Cloud
    times: Path

    def servers(self, volumes: int) -> dict[str, tuple[str, list[str]]]:
        """For each way a server that boots with so many volumes, the root included."""
        builder = Builder(self.cloud)
        made = {}
        for way in WAYS:
            disks = [builder.volume(bootable=number == 0) for number in range(volumes)]
            made[way] = (builder.boot(f"{way}-{volumes}", disks), disks)
        return made

    def reboot(self, server: str) -> tuple[int, float]:
        """Return how many requests the clean-up made to Cinder, and the seconds that it took."""
        since = time.time()
        Builder(self.cloud).reboot(server)
        # The fake driver asks Cinder nothing of its own, and the test's clients wait on Nova alone.
        calls = self.cloud.access("cinder", since)
        (seconds,) = [spent for uuid, spent in map(json.loads, self.times.read_text().splitlines()) if uuid == server]
        self.times.write_text("")
        return len(calls), seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--volumes", type=int, nargs="+", default=[1, 4, 16, 26])
    parser.add_argument("--dangling", type=int, nargs="+", default=[1, 4, 8, 13], help="how many of them, where fewer")
    parser.add_argument("--rounds", type=int, default=5, help="reboots of each healthy server; the median is shown")
    parser.add_argument("--slow", type=float, default=0.5, metavar="SECONDS", help="how slow Cinder is made at the end")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        times = Path(directory) / "times"
        times.touch()
        os.environ |= {"PYTHONPATH": str(HERE), "DEDANGLE_TIMES": str(times)}
        with Cloud(Path(directory) / "cloud", manager="timing.TimingManager") as cloud:
            for line in report(Bench(cloud, times), arguments):
                print(line, flush=True)
    return 0


def report(bench: Bench, arguments: argparse.Namespace) -> Iterator[str]:
    yield f"{'reboot':40} {'calls':>13}  {'seconds':>17}  {'stock/dedangle':>14}"
    yield f"{'':40} {'stock':>5} {'dedangle':>7}  {'stock':>8} {'dedangle':>8}"
    for volumes in arguments.volumes:
        servers = bench.servers(volumes)
        yield line(f"{volumes} volumes, healthy", measure(bench, servers, arguments.rounds))
        slow = {"method": "GET|DELETE", "path": r"/v3/.*(attachments|volumes).*", "after": arguments.slow}
        with bench.cloud.faults.inject("cinder", **slow) if arguments.slow else nullcontext():
            yield line(f"{volumes} volumes, healthy, {arguments.slow} s a call", measure(bench, servers, 1))
        for dangling in (each for each in arguments.dangling if each < volumes):
            servers = bench.servers(volumes)
            for server, disks in servers.values():
                for volume in disks[-dangling:]:
                    Breaker(Builder(bench.cloud)).lose_attachment(server, volume)
            what = f"{volumes} volumes, {dangling} dangling, {arguments.slow} s a call"
            with bench.cloud.faults.inject("cinder", **slow) if arguments.slow else nullcontext():
                yield line(what, measure(bench, servers, 1))


def measure(bench: Bench, servers: dict[str, tuple[str, list[str]]], rounds: int) -> dict[str, list[tuple[int, float]]]:
    measured: dict[str, list[tuple[int, float]]] = {way: [] for way in WAYS}
    for number in range(rounds):
        # In turn, so that neither has the warmer caches.
        for way in WAYS if number % 2 else reversed(WAYS):
            measured[way].append(bench.reboot(servers[way][0]))
    return measured


def line(what: str, measured: dict[str, list[tuple[int, float]]]) -> str:
    calls = {way: statistics.median(each[0] for each in found) for way, found in measured.items()}
    seconds = {way: statistics.median(each[1] for each in found) for way, found in measured.items()}
    return (
        f"{what:40} {calls['stock']:5.0f} {calls['dedangle']:7.0f}  {seconds['stock']:8.3f} {seconds['dedangle']:8.3f}"
        f"  {seconds['stock'] / seconds['dedangle']:14.1f}"
    )


if __name__ == "__main__":
    sys.exit(main())
