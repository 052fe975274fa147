# SPDX-License-Identifier: Apache-2.0
"""The bulk read through a real Cinder API against one curl process that fetches the same pages, in turns."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from benchmarks.fleet.databases import connection
from benchmarks.fleet.rows import fill
from keystoneauth1 import adapter, identity
from keystoneauth1.session import Session

from dedangle.lab.cloud import Cloud
from dedangle.systems.cinder.api import MICROVERSION, CinderApi


class Noted(adapter.Adapter):
    """Notes what is asked, for curl to ask again."""

    def __init__(self, session: Session) -> None:
        super().__init__(session, service_type="block-storage", default_microversion=MICROVERSION)
        self.asked: list[str] = []

    def request(self, url: str, method: str, **options: Any) -> Any:
        self.asked.append(f"{self.get_endpoint()}{url}?{urlencode(options['params'])}")
        return super().request(url, method, **options)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5000, help="an even number")
    parser.add_argument("--rounds", type=int, default=5, help="of both, in turns; medians are shown")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, Cloud(Path(directory) / "cloud") as cloud:
        with (
            connection(cloud.home.database_url("nova_cell1")) as nova,
            connection(cloud.home.database_url("cinder")) as cinder,
        ):
            fill(nova, cinder, arguments.pairs)
        login = json.loads(cloud.clouds_yaml.read_text())["clouds"]["dedangle-admin"]
        client = Noted(Session(auth=identity.V3Password(**login["auth"])))
        ratios, curls = [], []
        # The first round warms the services up and is not counted.
        for turn in range(arguments.rounds + 1):
            client.asked.clear()
            began = time.perf_counter()
            answers = list(CinderApi(client, None).bulk()[0])
            ours = time.perf_counter() - began
            rows = sum(len(page.rows.packed) for answer in answers for page in answer.rows)
            if rows != arguments.pairs * (49 + 16):
                raise RuntimeError(f"{rows} bytes of rows; {[each.why for each in answers if not each.complete]}")
            curl = _curl(client.asked, client.get_token(), Path(directory) / "curl")
            if turn:
                ratios.append(ours / curl)
                curls.append(curl)
                print(f"{ours:.1f} s, curl {curl:.1f} s", flush=True)
    print(
        f"{arguments.pairs} pairs, {len(client.asked)} pages: curl {statistics.median(curls):.1f} s; "
        f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    )
    return 0


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
