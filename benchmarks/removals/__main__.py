# SPDX-License-Identifier: Apache-2.0
"""The rate at which a sweep removes attachments, against a bare loop of Cinder DELETEs at the same concurrency."""

import argparse
import contextlib
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from multiprocessing.pool import ThreadPool
from pathlib import Path

from dedangle.lab.breakers import Breaker
from dedangle.lab.builders import Builder
from dedangle.lab.cloud import Cloud

DELETE = {"method": "DELETE", "path": r"/v3/.*attachments/.+"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", type=int, default=8)
    parser.add_argument("--each", type=int, default=3, help="attachments of each server to remove")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--rounds", type=int, default=5, help="of both, in turns; medians are shown")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, Cloud(Path(directory) / "cloud") as cloud:
        builder = Builder(cloud)
        # Another project's server, which the credentials must see.
        Builder(cloud, "p2").server("control", 0)
        servers = [builder.server(f"server-{number}", 0).id for number in range(arguments.servers)]
        for slow, concurrency in itertools.product((0.0, 0.5), arguments.concurrency):
            ratios, bares = [], []
            # The first round warms the services up and is not counted.
            for turn in range(arguments.rounds + 1):
                planted = _plant(builder, servers, arguments.each)
                with _slowed(cloud, slow):
                    bare = _bare(cloud, planted, concurrency)
                _plant(builder, servers, arguments.each)
                with _slowed(cloud, slow):
                    ours = _swept(cloud, len(planted), Path(directory), concurrency)
                if turn:
                    ratios.append(bare / ours)
                    bares.append(bare / len(planted))
            print(
                f"{slow} s added to a DELETE, {concurrency} at once: bare {statistics.median(bares):.3f} s each; "
                f"rate of dedangle {statistics.median(ratios):.2f} of it "
                f"({min(ratios):.2f} to {max(ratios):.2f} in {arguments.rounds} rounds)",
                flush=True,
            )
    return 0


def _plant(builder: Builder, servers: Sequence[str], each: int) -> list[str]:
    breaker = Breaker(builder)
    return [breaker.reserve_attachment(server, builder.volume()) for server in servers for _ in range(each)]


def _slowed(cloud: Cloud, seconds: float) -> contextlib.AbstractContextManager[object]:
    return cloud.faults.inject("cinder", delay=seconds, **DELETE) if seconds else contextlib.nullcontext()


def _bare(cloud: Cloud, attachments: Sequence[str], concurrency: int) -> float:
    began = time.perf_counter()
    with ThreadPool(concurrency) as pool:
        pool.map(lambda each: cloud.admin.cinder("DELETE", f"/attachments/{each}", expect=200), attachments, 1)
    return time.perf_counter() - began


def _swept(cloud: Cloud, count: int, directory: Path, concurrency: int) -> float:
    """Seconds from the first intent to the last outcome: without the start, and the judging before the first."""
    journal = cloud.home.state / "dedangle" / "journal.jsonl"
    before = journal.read_text().count("\n") if journal.exists() else 0
    own = directory / "own.conf"
    own.write_text(f"[dedangle]\nconcurrency = {concurrency}\n")
    program = [str(Path(sys.executable).with_name("dedangle"))]
    configuration = ["--config-file", str(cloud.nova_conf), "--config-file", str(own)]
    options = ["sweep", "--execute", "--yes", "--max-removals", "1000"]
    subprocess.run([*program, *configuration, *options], check=True, capture_output=True)
    lines = [json.loads(line) for line in journal.read_text().splitlines()[before:]]
    removed = sum(each.get("outcome") == "removed" for each in lines)
    if removed != count:
        raise RuntimeError(f"{removed} of {count} attachments were removed")
    moments = [datetime.fromisoformat(each["at"]) for each in lines]
    return (moments[-1] - moments[0]).total_seconds()


if __name__ == "__main__":
    sys.exit(main())
