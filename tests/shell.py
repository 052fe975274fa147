# SPDX-License-Identifier: Apache-2.0
"""The console script, run as an operator would run it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dedangle.lab.cloud import Cloud


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

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def start(self, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        command = [str(Path(sys.executable).with_name("dedangle")), *arguments]
        return subprocess.Popen(
            [*command, "--config-file", str(self.cloud.nova_conf)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    def __call__(self, *arguments: str, **environment: str) -> Done:
        with self.start(*arguments, **environment) as process:
            out, err = process.communicate(timeout=300)
            return Done(process.returncode, out, err)
