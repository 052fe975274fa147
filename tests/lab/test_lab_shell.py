# SPDX-License-Identifier: Apache-2.0
"""The file that `make lab` prints makes a shell use the lab, as the manual's tutorial does."""

import json
import subprocess

from dedangle.lab.__main__ import write_use
from dedangle.lab.cloud import Cloud


def in_shell(cloud: Cloud, command: str) -> str:
    typed = ["bash", "-c", f". {write_use(cloud)}; {command}"]
    return subprocess.run(typed, capture_output=True, text=True, check=True).stdout


def test_commands_of_the_manual_reach_the_lab(cloud: Cloud) -> None:
    assert in_shell(cloud, "dedangle doctor -f value -c check").splitlines()
    assert in_shell(cloud, "openstack project list -f value -c Name").splitlines()


def test_a_host_reports_its_connector(cloud: Cloud) -> None:
    printed = in_shell(cloud, "ssh lab-compute-1 nova-manage volume_attachment get_connector --json")
    assert json.loads(printed)["host"] == "lab-compute-1"
