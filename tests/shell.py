# SPDX-License-Identifier: Apache-2.0
"""The console script, run as an operator would run it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import warm
from dedangle.lab.client import wait_for
from dedangle.lab.cloud import Cloud

BOUNDARIES = str(Path(__file__).parent / "command" / "boundaries.py")


THOROUGH = "DEDANGLE_THOROUGH" in os.environ
"""Whether a run is killed at each of its steps, which takes minutes, or at every third."""


Configure = Callable[..., tuple[str, str]]
"""Takes options of [dedangle], and returns the arguments that set them."""


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def findings(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.out)
        return found


class Dedangle:
    """The console script, run as an operator would run it."""

    def __init__(self, cloud: Cloud, script: str = "dedangle") -> None:
        self.cloud = cloud
        self.script = script

    def start(self, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        return self._start([str(Path(sys.executable).with_name(self.script))], arguments, environment)

    def start_until(self, how: str, where: str, *arguments: str) -> "subprocess.Popen[str]":
        """Start it under boundaries.py, which says what `how` and `where` are."""
        return self._start([sys.executable, BOUNDARIES, how, where], arguments, {})

    def _start(
        self, command: list[str], arguments: tuple[str, ...], environment: dict[str, str]
    ) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            # Before the verb, where nova-manage takes it too.
            [*command, "--config-file", str(self.cloud.nova_conf), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    def __call__(self, *arguments: str, **environment: str) -> Done:
        if self.script == "dedangle":
            given = ["--config-file", str(self.cloud.nova_conf), *arguments]
            return Done(*warm.run(given, {**os.environ, **environment}))
        return finish(self.start(*arguments, **environment))

    def cleanup_while(self, held: Path, server: str, deed: Callable[[str], object], *options: str) -> Done:
        """Clean the server, and do the deed between the run's first intent and its write."""
        with self.start_until(str(held), server, "cleanup", server, *options) as process:
            wait_for("the first intent", lambda: held.exists() or process.poll() is not None, seconds=180)
            deed(server)
            held.unlink()
            return finish(process)

    def until(self, how: str, where: str, *arguments: str) -> Done:
        return finish(self.start_until(how, where, *arguments))


def journal(state_dir: Path) -> list[dict[str, Any]]:
    """The lines of a journal, each of which must be whole; none where there is no journal yet."""
    path = state_dir / "journal.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def finish(process: "subprocess.Popen[str]") -> Done:
    with process:
        out, err = process.communicate(timeout=300)
        return Done(process.returncode, out, err)
