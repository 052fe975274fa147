# SPDX-License-Identifier: Apache-2.0
"""The plugin for NRPE says what an audit found, by exit code and in one line."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cases.stage import Stage
from dedangle.lab import rows
from dedangle.lab.cloud import Cloud

PLUGIN = Path(__file__).parents[2] / "deploy" / "nrpe" / "check_dedangle"

Check = Callable[..., tuple[int, str]]


@pytest.fixture
def check(cloud: Cloud, tmp_path: Path) -> Check:
    """Run the plugin with a dedangle that reads the lab's nova.conf, and return exit code and what it prints."""
    program = tmp_path / "dedangle"
    real = Path(sys.executable).with_name("dedangle")
    program.write_text(f'#!/bin/sh\nexec {real} --config-file {cloud.nova_conf} "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}

    def run(*arguments: str) -> tuple[int, str]:
        done = subprocess.run([PLUGIN, *arguments], env=environment, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        return done.returncode, done.stdout

    return run


def test_each_result_has_its_code(cloud: Cloud, check: Check) -> None:
    stage = Stage(cloud)
    Stage(cloud, "p2").server()
    clean, dangling, one, other = (stage.server() for _ in range(4))
    stage.breaks.reserve_attachment(dangling.id, stage.user.volume())
    stage.breaks.lose_attachment(one.id, one.volumes[1])
    stage.breaks.attach_unknown(other.id, one.volumes[1], "elsewhere")
    rows.settle(cloud.home)
    for arguments, code, line in (
        (("--server", clean.id), 0, "OK: Run "),
        (("--server", dangling.id), 1, "WARNING: Run "),
        (("--server", one.id), 2, "CRITICAL: Run "),
        (("--host", "nosuch"), 3, "UNKNOWN: exit code 2. No compute host is named nosuch."),
    ):
        found, printed = check(*arguments)
        assert (found, printed.count("\n")) == (code, 1), printed
        # Each message of the audit begins with its time.
        assert re.sub(r"\S+Z Run ", "Run ", printed).startswith(line)
