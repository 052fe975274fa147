# SPDX-License-Identifier: Apache-2.0
"""The way out of every case, followed word for word with the real clients until nothing is listed any more.

A command that changes nothing and comes back, a finding without a command, and a silence fail; what needs a decision
outside of dedangle says so in its case.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cases.stage import Case, Planted, Stage, cases
from dedangle.cli.servers import is_id
from dedangle.core.findings import KINDS
from dedangle.lab import rows
from dedangle.lab.client import wait_for
from dedangle.lab.cloud import Cloud
from dedangle.lab.config import COMPUTE_HOST
from shell import Dedangle, Done

pytestmark = pytest.mark.thorough

# The lab's services have two cores between them: more builders only wait for each other.
BUILDERS = 4
ROUNDS = 4
REFRESH = "nova-manage volume_attachment refresh"
# It asks nova-compute over the message bus, which in the lab on SQLite ends at the process: see test_walks_on_a_bus.py.
ALL = cases()
ON_A_BUS = [case for case in ALL if any(REFRESH in command for command in case.way_out)]
CASES = [case for case in ALL if case not in ON_A_BUS]
BIN = Path(sys.executable).parent
# The lab's compute host is this machine; its guests are Nova's fake ones, and it has no os-brick to ask.
CONNECTOR = json.dumps({"host": COMPUTE_HOST, "ip": "127.0.0.1", "initiator": "iqn.2026-11.org.example:walker"})
SSH = f"""shift
case "$*" in
    "nova-manage volume_attachment get_connector --json") echo '{CONNECTOR}';;
    "virsh -c qemu:///system list && ! virsh -c qemu:///system list --uuid | grep -q "*) ;;
    "virsh -c qemu:///system destroy "*|"virsh -c qemu:///system list && ! virsh -c qemu:///system dominfo "*) ;;
    *) exit 1;;
esac"""


class Walker:
    """An operator's shell, with the clients and the credentials of the lab's administrator."""

    def __init__(self, cloud: Cloud, dedangle: Dedangle, directory: Path) -> None:
        self._cloud = cloud
        self._dedangle = dedangle
        self._directory = directory
        (directory / "conf.d").mkdir()
        (directory / "conf.d" / "own.conf").write_text("[dedangle]\ngrace_period = 0\n")
        self._config = f"--config-file {cloud.nova_conf} --config-dir {directory / 'conf.d'}"
        (directory / "bin").mkdir()
        # The client cinder does not read clouds.yaml.
        login = json.loads(cloud.clouds_yaml.read_text())["clouds"]["dedangle-admin"]["auth"]
        self._login = {f"OS_{name.upper()}": str(value) for name, value in login.items()}
        self._program("ssh", SSH)
        self._program("dedangle", f'exec {BIN / "dedangle"} {self._config} "$@"')
        self._program("nova-manage", f'exec {BIN / "nova-manage"} --config-file {cloud.nova_conf} "$@"')

    def _program(self, name: str, script: str) -> None:
        path = self._directory / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def audit(self, server: str) -> Done:
        own = ("--config-dir", str(self._directory / "conf.d"))
        # What is not spelled as Nova spells an id would be taken for a name.
        which = ("--server", server) if is_id(server) else ()
        return self._dedangle(*own, "audit", *which, "--all", "-f", "json")

    def type(self, command: str) -> None:
        """Run one line of a way out; it must succeed."""
        environment = {
            **os.environ,
            "PATH": f"{self._directory / 'bin'}{os.pathsep}{BIN}{os.pathsep}{os.environ['PATH']}",
            "OS_CLIENT_CONFIG_FILE": str(self._cloud.clouds_yaml),
            "OS_CLOUD": "dedangle-admin",
            **self._login,
        }
        done = subprocess.run(
            ["bash", "-c", command],
            env=environment,
            cwd=self._directory,
            capture_output=True,
            text=True,
            timeout=300,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)

    def settle(self, servers: tuple[str, ...]) -> None:
        """Wait until Nova and Cinder have done what they were asked to, and let the rows be an hour old."""
        admin = self._cloud.admin

        def idle(server: str) -> bool:
            answer = admin.nova("GET", f"/servers/{server}")
            return answer.status == 404 or answer.body["server"]["OS-EXT-STS:task_state"] is None

        for server in servers:
            wait_for(f"server {server} idle", lambda server=server: idle(server))
        wait_for("no detach is in progress", lambda: not self._detaching(servers))
        rows.settle(self._cloud.home)

    def _detaching(self, servers: tuple[str, ...]) -> bool:
        found = rows.snapshot(self._cloud.home)
        held = {str(each["volume_id"]) for server in servers for each in found.attachments_of(server)}
        return any(found.volumes[each]["status"] == "detaching" for each in held if each in found.volumes)


def listed(done: Done) -> list[dict[str, Any]]:
    assert done.code == 0, done.err
    return [each for each in done.findings if each["code"] in KINDS]


def left(walker: Walker, planted: Planted) -> list[dict[str, Any]]:
    """Return what is listed of the servers of the case."""
    return [each for server in planted.servers for each in listed(walker.audit(server)) if each["server_id"] == server]


def shape(command: str, planted: Planted) -> str:
    """Return the command with words instead of ids, as the manual prints it."""
    for number, server in enumerate(planted.servers):
        command = command.replace(server, "SERVER" if not number else "OTHER_SERVER")
    before = r"volume (?:set|show)\b.*? |reset-migration-status |--volume |refresh SERVER |remove volume SERVER "
    command = re.sub(rf"({before})[0-9a-f-]{{36}}", r"\1VOLUME", command)
    command = re.sub(r"\d{4}-\d\d-\d\dT[\d:]{8}", "TIME", command)
    command = re.sub(r"(attachment (?:complete|delete) )[0-9a-f-]{36}", r"\1ATTACHMENT", command)
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "OTHER_SERVER", command).replace(COMPUTE_HOST, "HOST")


@pytest.fixture(scope="module")
def planted(cloud: Cloud, request: pytest.FixtureRequest) -> dict[str, Planted]:
    here = [item for item in request.session.items if item.module is request.module]
    asked = {item.callspec.params["case"].name for item in here}
    chosen = [case for case in ALL if case.name in asked]
    with ThreadPoolExecutor(BUILDERS) as pool:
        built = list(pool.map(lambda case: case.build(Stage(cloud)), chosen))
        # The youngest attachments are whole: a cloud that has lost most of its own looks like a restored database.
        list(pool.map(lambda project: Stage(cloud, project).server(0), ("p1", "p2", "p1", "p2")))
    rows.settle(cloud.home)
    return {case.name: each for case, each in zip(chosen, built, strict=True)}


@pytest.fixture(scope="module")
def walker(cloud: Cloud, dedangle: Dedangle, tmp_path_factory: pytest.TempPathFactory) -> Walker:
    return Walker(cloud, dedangle, tmp_path_factory.mktemp("walker"))


def steps(walker: Walker, planted: Planted) -> Iterator[tuple[str, ...]]:
    """Follow the first finding's way out until nothing is listed, and yield what was typed in each round."""
    before: list[str] = []
    for _ in range(ROUNDS):
        found = left(walker, planted)
        ways = [each["next"] for each in found if each["next"] and each["disposition"] != "wait"]
        if not ways:
            return
        for command in ways[0]:
            walker.type(command)
        walker.settle(planted.servers)
        assert ways[0] != before, f"it was typed before: {before}"
        before = ways[0]
        yield tuple(shape(each, planted) for each in ways[0])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_way_out_is_followed_to_its_end(case: Case, planted: dict[str, Planted], walker: Walker) -> None:
    follow(case, planted, walker)


def follow(case: Case, planted: dict[str, Planted], walker: Walker) -> None:
    """Type the way out of the case to its end, and compare it with what the case says."""
    state = planted[case.name]
    typed = [command for commands in steps(walker, state) for command in commands]
    assert typed == list(case.way_out)
    decided = [each["reason"] for each in left(walker, state) if each["disposition"] != "wait"]
    assert bool(decided) is bool(case.outside), decided
    assert all(f"Decide {case.outside}." in reason for reason in decided), decided
