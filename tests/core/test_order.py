# SPDX-License-Identifier: Apache-2.0
"""Two processes write the same findings in the same words: the order of a set differs between them."""

import os
import subprocess
import sys
from pathlib import Path

_SCRIPT = """
from table_dangling import DANGLING_ROWS
from table_rows import KEPT_ROWS
from worlds import findings
from itertools import islice
from test_small_worlds import shared_volume, two_volumes, with_guests
from dedangle.core.decisions import Door

table = [row.world for row in (*DANGLING_ROWS, *KEPT_ROWS)]
small = [world for family in (shared_volume, two_volumes, with_guests) for world in islice(family(), 0, None, 20)]
for world in (*table, *small):
    for door in Door:
        for finding in findings(world, door=door):
            print(finding)
"""


def _said(seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run([sys.executable, "-c", _SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_processes_find_the_same_in_the_same_words() -> None:
    first, second = _said("1"), _said("2")
    assert first.splitlines() == second.splitlines()
