# SPDX-License-Identifier: Apache-2.0
"""The bulk read of a sweep against a bare C client that reads the same rows and throws them away, in turns.

Each size is created again: Nova's and Cinder's own schemas, dead rows beside the live ones, 0.05 % of the pairs broken.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.fleet.databases import MariaDb, PostgreSql, Server, Sqlite, connection, make_schemas, read_bare
from benchmarks.fleet.rows import fill, plant

ROOT = Path(__file__).parents[2]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, nargs="+", default=[10_000, 100_000], help="even numbers")
    parser.add_argument("--database", choices=("mariadb", "postgresql", "sqlite"), default="mariadb")
    parser.add_argument("--driver", choices=("pymysql", "mysqldb"), default="pymysql", help="of MariaDB")
    parser.add_argument("--dead", type=int, choices=(1, 2, 3), default=3, help="dead rows for each live one")
    parser.add_argument("--rounds", type=int, default=5, help="of both, in turns; medians are shown")
    parser.add_argument("--pool", default="4G", help="buffer pool of MariaDB and PostgreSQL")
    parser.add_argument("--directory", type=Path, help="where the data may be; 23 GB for 1,000,000 pairs")
    arguments = parser.parse_args()
    right = True
    for pairs in arguments.pairs:
        with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
            path = Path(directory)
            database = _database(arguments, path)
            with database.running():
                for line in measure(database, path, pairs, arguments.dead, arguments.rounds):
                    print(line, flush=True)
                    right = right and "WRONG" not in line
    return 0 if right else 1


def _database(arguments: argparse.Namespace, path: Path) -> Server:
    if arguments.database == "mariadb":
        return MariaDb(path, arguments.pool, arguments.driver)
    return PostgreSql(path, arguments.pool) if arguments.database == "postgresql" else Sqlite(path)


def measure(database: Server, path: Path, pairs: int, dead: int, rounds: int) -> Iterator[str]:
    began = time.perf_counter()
    make_schemas(database, path)
    with connection(database.url("nova")) as nova, connection(database.url("cinder")) as cinder:
        fill(nova, cinder, pairs, dead)
        truth = plant(nova, cinder, pairs)
    if isinstance(database, PostgreSql):
        database.gather_statistics()
    yield f"{pairs} pairs, {dead} dead rows for each live one, made in {time.perf_counter() - began:.0f} s"
    yield from compare(database, truth, rounds)


def compare(database: Server, truth: set[str], rounds: int) -> Iterator[str]:
    """Read by the C client and by the screen in turns, and tell of both."""
    bare, ours = [], []
    # The first round warms the server up and is not counted.
    for _ in range(rounds + 1):
        served = [database.cpu()]
        seconds, cpu = read_bare(database)
        served.append(database.cpu())
        ours.append(_screen(database))
        served.append(database.cpu())
        bare.append({"seconds": seconds, "cpu": cpu, "served": served[1] - served[0]})
        ours[-1]["served"] = served[2] - served[1]
    bare, ours = bare[1:], ours[1:]
    suspects = set(ours[-1]["suspects"])
    missed, invented = len(truth - suspects), len(suspects - truth)
    yield (
        f"  {len(truth)} servers spoilt: {missed} missed, {invented} invented"
        f"{' WRONG' if missed or invented or ours[-1]['unread'] else ''}; "
        f"{ours[-1]['attachments']} attachments, {ours[-1]['paired']} whole pairs, {ours[-1]['ownerless']} of no server"
    )
    for name, of in {"C client": bare, "screen": ours}.items():
        each = {what: statistics.median(one[what] for one in of) for what in ("seconds", "cpu", "served")}
        yield f"  {name}: {each['seconds']:.2f} s; CPU {each['cpu']:.2f} s, and {each['served']:.2f} s of the server"
    for what, count in {
        "time": lambda one: one["seconds"],
        "CPU of both sides": lambda one: one["cpu"] + one["served"],
        "CPU of the server": lambda one: one["served"],
    }.items():
        ratios = [count(our) / count(base) for our, base in zip(ours, bare, strict=True) if count(base)]
        if ratios:
            yield f"  ratio of {what}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    peak = max(each["mb"] for each in ours)
    yield f"  peak {peak:.0f} MB, {ours[-1]['mb_before']:.0f} MB of them before the first row"
    if isinstance(database, MariaDb):
        with database.logged():
            _screen(database)
        for table, statements in database.statements().items():
            times = [seconds for seconds, _ in statements]
            yield (
                f"  {table}: {len(statements)} statements, {sum(rows for _, rows in statements)} rows examined, "
                f"median {1000 * statistics.median(times):.0f} ms, longest {1000 * max(times):.0f} ms"
            )


def _screen(database: Server) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.fleet.screen", database.url("nova"), database.url("cinder")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


if __name__ == "__main__":
    sys.exit(main())
