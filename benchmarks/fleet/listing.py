# SPDX-License-Identifier: Apache-2.0
"""The bulk read of a real Cinder API, in one stream and in parts, and one curl process that fetches the same pages.

They take turns. Requests go to several processes of cinder-api in turn, as a proxy sends them to its workers. The
CPU time of a page is the same in every way, so a machine with few cores needs short pages to show what parts gain.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa
from benchmarks.fleet.databases import connection
from benchmarks.fleet.rows import fill
from keystoneauth1 import adapter, identity
from keystoneauth1.session import Session

from dedangle.core.packing import Named
from dedangle.lab import config
from dedangle.lab.client import wait_for
from dedangle.lab.cloud import Cloud
from dedangle.lab.home import ADDRESS, CINDER_APIS
from dedangle.lab.processes import Process
from dedangle.systems.cinder.api import MICROVERSION, CinderApi


class Noted(adapter.Adapter):
    """Sends requests to the endpoints in turn, and notes what is asked, for curl to ask again."""

    def __init__(self, session: Session, endpoints: Iterable[str]) -> None:
        super().__init__(session, service_type="block-storage", default_microversion=MICROVERSION)
        self.asked: list[str] = []
        self._endpoints = itertools.cycle(endpoints)

    def request(self, url: str, method: str, **options: Any) -> Any:
        endpoint = next(self._endpoints)
        self.asked.append(f"{endpoint}{url}?{urlencode(options['params'])}")
        return super().request(url, method, endpoint_override=endpoint, **options)


@contextlib.contextmanager
def workers(cloud: Cloud, names: Sequence[str]) -> Iterator[list[str]]:
    """Start more processes of cinder-api beside the one of the lab; return the endpoints of all."""
    home, started = cloud.home, list[Process]()
    with socket.socket() as one, socket.socket() as two:
        for each in (one, two):
            each.bind((ADDRESS, 0))
        ports = {name: each.getsockname()[1] for name, each in zip(names, (one, two), strict=False)}
    home.ports_json.write_text(json.dumps({**home.ports, **ports}))
    arguments = ["--database", home.database, "--parts", "cinder-api", "--parent", str(os.getpid())]
    try:
        for name in names:
            started.append(Process(name, home))
            command = [sys.executable, "-m", "dedangle.lab.services.cinder", str(home.path), "--name", name, *arguments]
            started[-1].start(command, config.environment(home))
        wait_for("cinder-api is up", lambda: all(each.is_ready() for each in started), 180)
        yield [home.url("cinder"), *(f"http://{ADDRESS}:{port}/v3" for port in ports.values())]
    finally:
        for process in started:
            process.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5000, help="an even number")
    parser.add_argument("--dead", type=int, default=1, help="dead rows for each live one")
    parser.add_argument("--slow", type=float, default=0.05, help="seconds added to each request")
    parser.add_argument("--page", type=int, default=1000, help="osapi_max_limit of Cinder")
    parser.add_argument("--parts", type=int, default=4, help="parts of a list that are read at once")
    parser.add_argument("--workers", type=int, default=3, choices=(1, 2, 3), help="processes of cinder-api")
    parser.add_argument("--rounds", type=int, default=5, help="of both, in turns; medians are shown")
    arguments = parser.parse_args()
    limit = {"DEFAULT": {"osapi_max_limit": arguments.page}}
    with (
        tempfile.TemporaryDirectory() as directory,
        Cloud(Path(directory) / "cloud", cinder_overrides=limit) as cloud,
        workers(cloud, CINDER_APIS[: arguments.workers - 1]) as endpoints,
    ):
        with (
            connection(cloud.home.database_url("nova_cell1")) as nova,
            connection(cloud.home.database_url("cinder")) as cinder,
        ):
            fill(nova, cinder, arguments.pairs, arguments.dead)
            some = "SELECT attachment_id, volume_id FROM block_device_mapping WHERE deleted = 0 LIMIT 1000"
            named = [Named(*row) for row in nova.execute(sa.text(some))]
        login = json.loads(cloud.clouds_yaml.read_text())["clouds"]["dedangle-admin"]
        client = Noted(Session(auth=identity.V3Password(**login["auth"])), endpoints)
        ways: dict[str, list[float]] = {"curl": [], "one stream": [], f"{arguments.parts} parts": []}
        pages = {}
        slow = {"method": "GET", "path": "/v3/.*", "after": arguments.slow}
        with cloud.faults.inject("cinder", **slow):
            # The first round warms the services up and is not counted.
            for turn in range(arguments.rounds + 1):
                took = []
                for at_once in (1, arguments.parts):
                    client.asked.clear()
                    took.append(_read(CinderApi(client, None), named, at_once, arguments.pairs))
                    pages[at_once] = len(client.asked)
                    if at_once == 1:
                        took.insert(0, _curl(client.asked, client.get_token(), Path(directory) / "curl"))
                for found, seconds in zip(ways.values(), took, strict=True):
                    found += [seconds] if turn else []
    for way, seconds in ways.items():
        ratios = [each / stream for each, stream in zip(seconds, ways["one stream"], strict=True)]
        print(
            f"{way}: {statistics.median(seconds):.1f} s; {statistics.median(ratios):.2f} of one stream "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )
    print(f"{arguments.pairs} pairs; requests: {pages}")
    return 0


def _read(cinder: CinderApi, named: list[Named], at_once: int, pairs: int) -> float:
    began = time.perf_counter()
    answers = list(cinder.bulk(lambda: named, at_once)[0])
    ours = time.perf_counter() - began
    rows = sum(len(page.rows.packed) for answer in answers for page in answer.rows)
    if rows != pairs * (49 + 16):
        raise RuntimeError(f"{rows} bytes of rows; {[each.why for each in answers if not each.complete]}")
    return ours


def _curl(urls: list[str], token: str, config: Path) -> float:
    """Seconds in which curl fetches the pages, over one connection, and throws them away."""
    headers = f'header = "X-Auth-Token: {token}"\nheader = "OpenStack-API-Version: volume {MICROVERSION}"\n'
    outputs = "".join(f'url = "{each}"\noutput = "/dev/null"\n' for each in urls)
    config.write_text(f"silent\nfail\n{headers}{outputs}")
    began = time.perf_counter()
    subprocess.run(["curl", "--config", config], check=True)
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
