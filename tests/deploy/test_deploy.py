# SPDX-License-Identifier: Apache-2.0
"""What is shipped to run the sweep is what systemd, cron and Kubernetes understand, and dedangle too."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from dedangle.cli.app import Dedangle
from dedangle.cli.sweep import Sweep
from dedangle.core.sharding import Shard
from dedangle.lab import packages
from dedangle.lab.errors import LabError

DEPLOY = Path(__file__).parents[2] / "deploy"
SYSTEMD = packages.Packages(("systemd",), ("systemd-analyze",))
CRON = packages.Packages(("cron",), ("crontab",))


def parsed(words: list[str]) -> argparse.Namespace:
    """The options that dedangle reads from a command line; it exits where it knows one of them not."""
    assert words[0] == "sweep"
    options: argparse.Namespace = Sweep(Dedangle([]), None).get_parser("sweep").parse_args(words[1:])
    return options


def assert_unattended(options: argparse.Namespace, longest: float) -> None:
    """It acts, asks nobody, and ends before it is ended."""
    assert (options.execute, options.yes) == (True, True)
    assert 0 < options.time_budget < longest


def test_systemd(tmp_path: Path) -> None:
    try:
        packages.ensure_installed(SYSTEMD)
    except LabError as missing:
        pytest.skip(str(missing))
    units = [tmp_path / f"dedangle-sweep.{kind}" for kind in ("service", "timer")]
    for unit in units:
        # systemd looks whether the program is there; here it is another's.
        program = str(Path(sys.executable).with_name("dedangle"))
        unit.write_text((DEPLOY / "systemd" / unit.name).read_text().replace("/usr/bin/dedangle", program))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, units)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    service = units[0].read_text()
    (command,) = re.findall(r"^ExecStart=(.*)$", service, re.MULTILINE)
    (minutes,) = re.findall(r"^TimeoutStartSec=(\d+)min$", service, re.MULTILINE)
    assert_unattended(parsed(shlex.split(command)[1:]), int(minutes) * 60)


def test_cron_line() -> None:
    lines = [line for line in (DEPLOY / "cron" / "dedangle").read_text().splitlines() if line[:1] not in ("#", "")]
    (job,) = [line for line in lines if not re.match(r"[A-Z]+=", line)]
    *when, user, command = job.split(None, 6)
    assert re.fullmatch(r"[0-5]?\d", when[0])
    assert (when[1:], user) == (["*"] * 4, "nova")
    # cron takes a bare % for the end of the line.
    assert "%" not in job
    words = shlex.split(command)
    assert words.pop(0) == "dedangle"
    redirected = next(index for index, word in enumerate(words) if word.startswith(">"))
    assert_unattended(parsed(words[:redirected]), 3600)


def test_cron_takes_the_line(tmp_path: Path) -> None:
    try:
        packages.ensure_installed(CRON)
    except LabError as missing:
        pytest.skip(str(missing))
    # A user's table has no column for the user.
    table = tmp_path / "table"
    table.write_text((DEPLOY / "cron" / "dedangle").read_text().replace(" nova dedangle", " dedangle"))
    done = subprocess.run(["crontab", "-n", str(table)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def manifest(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "kubernetes" / name).read_text())
    # Kubernetes' own schema, and no field beside it: the API server drops what a slip of the fingers has named.
    kubernetes_validate.validate(loaded, kubernetes_validate.latest_version(), strict=True)
    return loaded


def test_kubernetes_cronjob() -> None:
    spec = manifest("cronjob.yaml")["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert_pod(spec["jobTemplate"]["spec"])


def test_kubernetes_indexed_job(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = manifest("indexed-job.yaml")["spec"]
    assert spec["completionMode"] == "Indexed"
    (container,) = spec["template"]["spec"]["containers"]
    shards = []
    for index in range(spec["completions"]):
        monkeypatch.setenv("JOB_COMPLETION_INDEX", str(index))
        for each in container["env"]:
            monkeypatch.setenv(each["name"], each["value"])
        shards.append(assert_pod(spec).shard)
    assert shards == [Shard(index, 4) for index in range(1, 5)]


def assert_pod(job: dict[str, Any]) -> argparse.Namespace:
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert (job["backoffLimit"], pod["restartPolicy"]) == (0, "Never")
    assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}
    assert container["command"][0] == "dedangle"
    options = parsed(container["args"])
    assert_unattended(options, job["activeDeadlineSeconds"])
    return options
