# SPDX-License-Identifier: Apache-2.0
"""The suspects of a dirty cloud, judged together and one by one, in turns.

The lab on MariaDB is filled with pairs, a share of them is broken, and each request to Cinder's API takes 20 ms longer.
Statements and requests are those of the judgement alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.fleet.databases import connection
from benchmarks.fleet.rows import fill, plant

from dedangle.lab.builders import Builder
from dedangle.lab.cloud import Cloud

ROOT = Path(__file__).parents[2]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=100_000, help="an even number")
    parser.add_argument("--share", type=float, nargs="+", default=[0.01, 0.1], help="of the pairs that are broken")
    parser.add_argument("--dead", type=int, default=3, help="dead rows for each live one")
    parser.add_argument("--slow", type=float, default=0.02, help="seconds added to each request")
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--one-by-one", type=int, default=100, help="suspects to judge one by one, for the ratio")
    parser.add_argument("--api", action="store_true", help="read in bulk through Cinder's API, not its database")
    parser.add_argument("--directory", type=Path)
    arguments = parser.parse_args()
    for share in arguments.share:
        with (
            tempfile.TemporaryDirectory(dir=arguments.directory) as directory,
            Cloud(Path(directory) / "cloud", database="mariadb") as cloud,
        ):
            Builder(cloud).server("control", 1)
            Builder(cloud, "p2").server("control", 1)
            with (
                connection(cloud.home.database_url("nova_cell1")) as nova,
                connection(cloud.home.database_url("cinder")) as cinder,
            ):
                fill(nova, cinder, arguments.pairs, arguments.dead, first=1000)
                plant(nova, cinder, arguments.pairs, share)
            config = Path(directory) / "nova.conf"
            own = ["[dedangle]", f"state_dir = {directory}/state", "cell_timeout = 10"]
            if not arguments.api:
                own.append(f"cinder_database = {cloud.home.database_url('cinder')}")
            config.write_text("\n".join([cloud.nova_conf.read_text(), *own, ""]))
            print(f"{arguments.pairs} pairs, {share:.0%} broken", flush=True)
            slow = {"method": "GET", "path": "/v3/.*", "after": arguments.slow, "user_agent": "dedangle"}
            with cloud.faults.inject("cinder", **slow):
                for way, limit in (("together", 10**9), ("one by one", arguments.one_by_one)):
                    print(_line(way, _judge(config, arguments.concurrency, way, limit)), flush=True)
    return 0


def _judge(config: Path, concurrency: int, way: str, limit: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.suspects.judge", str(config), str(concurrency), way, str(limit)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _line(way: str, found: dict[str, Any]) -> str:
    suspects = found["suspects"]
    requests, statements = sum(found["requests"].values()), found["statements"]
    most = max(statements.items(), key=lambda each: each[1])
    return (
        f"  {way}: bulk read {found['screen']:.1f} s; {suspects} suspects judged in {found['judging']:.1f} s, "
        f"{1000 * found['judging'] / suspects:.1f} ms each; {requests / suspects:.2f} requests each; "
        f"{most[1] / suspects:.3f} statements each of {most[0]}, {sum(statements.values()) / suspects:.3f} of all; "
        f"peak {found['mb']:.0f} MB, {found['mb_screened']:.0f} MB "
        f"with the screen, {found['mb_before']:.0f} MB before; {found['changes']} to change; "
        f"{found['requests']} {statements} {found['findings']} {found['unread']}"
    )


if __name__ == "__main__":
    sys.exit(main())
