# SPDX-License-Identifier: Apache-2.0
"""Labs seen from outside: which processes they have, and one that another process runs."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dedangle.lab.cloud import Cloud

NOVA_MANAGER = "nova.compute.manager.ComputeManager"

_PROGRAM = """
import sys, time
from pathlib import Path
from dedangle.lab.cloud import Cloud
home, manager, database = sys.argv[1:]
Cloud(Path(home), manager=manager, database=database, progress=lambda line: print(line, flush=True)).up()
time.sleep(600)
"""


def processes_of(home: Path) -> list[str]:
    """Which processes name this home on their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(home) in line and "-c" not in line.split():
            found.append(line)
    return found


@contextmanager
def another_process_runs(cloud: Cloud, until: str) -> "Iterator[subprocess.Popen[str]]":
    """Bring the lab up in a process of its own, as far as the line that starts with `until`."""
    command = [sys.executable, "-c", _PROGRAM, str(cloud.home.path), cloud.manager, cloud.home.database]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="")
            if line.startswith(until):
                break
        try:
            yield process
        finally:
            process.kill()
