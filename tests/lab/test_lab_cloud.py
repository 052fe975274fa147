# SPDX-License-Identifier: Apache-2.0
"""A lab starts, keeps its data, answers requests, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from labs import NOVA_MANAGER, another_process_runs, processes_of

from dedangle.lab import rows
from dedangle.lab.builders import Builder
from dedangle.lab.client import wait_for
from dedangle.lab.cloud import Cloud
from dedangle.lab.errors import AlreadyUpError, ServiceFailedError, UnexpectedAnswerError


def test_servers_of_two_projects(cloud: Cloud) -> None:
    servers = {project: Builder(cloud, project).server(f"of-{project}", volumes=1) for project in ("p1", "p2")}

    for project, server in servers.items():
        own = cloud.user(project).nova("GET", "/servers", expect=200).body["servers"]
        assert server.id in [shown["id"] for shown in own]
        assert Builder(cloud, project).status(server.id) == "ACTIVE"
    assert cloud.user("p2").nova("GET", f"/servers/{servers['p1'].id}").status == 404
    everything = cloud.admin.nova("GET", "/servers?all_tenants=1", expect=200).body["servers"]
    assert {server.id for server in servers.values()} <= {shown["id"] for shown in everything}


def test_an_unexpected_answer_says_what_was_asked(cloud: Cloud) -> None:
    with pytest.raises(UnexpectedAnswerError, match="GET /servers/none of nova answered 404, not 200"):
        cloud.user("p1").nova("GET", "/servers/none", expect=200)


@pytest.mark.thorough
def test_restarts_keep_the_state_and_the_ports(cloud: Cloud, builder: Builder) -> None:
    volume = builder.volume(name="before")
    before, ports = rows.snapshot(cloud.home), cloud.ports

    for service in ("keystone", "nova", "cinder"):
        cloud.restart(service)

    assert cloud.ports == ports
    assert rows.snapshot(cloud.home) == before
    builder.attach(builder.server("after", volumes=0).id, volume)


def test_a_killed_service_starts_again(cloud: Cloud, builder: Builder) -> None:
    cloud.kill("cinder")
    with pytest.raises(Exception, match="Connection refused"):
        builder.user.cinder("GET", "/volumes")

    cloud.start("cinder")

    builder.volume()


def test_the_access_log_sees_requests(cloud: Cloud, builder: Builder) -> None:
    server = builder.server("watched", volumes=1)
    mark = time.time()

    builder.reboot(server.id)

    seen = cloud.access("cinder", mark)
    listed = [request for request in seen if request.path.endswith("/attachments")]
    assert [("GET", f"instance_id={server.id}", 200)] == [(r.method, r.query, r.status) for r in listed]
    assert all(request.service_token and request.time >= mark and request.seconds > 0 for request in listed)
    assert cloud.access("cinder", time.time()) == []


def test_nova_conf_takes_overrides(tmp_path: Path) -> None:
    override = {"dedangle": {"grace_period": 3600}, "DEFAULT": {"report_interval": "never"}}
    cloud = Cloud(tmp_path, manager=NOVA_MANAGER, nova_overrides=override)

    with pytest.raises(ServiceFailedError, match=r"nova did not start: .*report_interval.*\(see .*/log/nova\.\*\)"):
        cloud.up()

    written = cloud.nova_conf.read_text()
    assert "grace_period = 3600\n" in written
    assert f"state_dir = {tmp_path}/sqlite/dedangle\n" in written
    assert processes_of(tmp_path) == []


@pytest.mark.thorough
def test_a_second_lab_beside_the_first(cloud: Cloud, tmp_path: Path) -> None:
    said: list[str] = []
    with Cloud(tmp_path, manager=NOVA_MANAGER, progress=said.append) as other:
        assert not set(other.ports.values()) & set(cloud.ports.values())
        volume = Builder(other).volume()
        with pytest.raises(AlreadyUpError):
            Cloud(tmp_path).up()
    assert processes_of(tmp_path) == []
    assert [line.split(" is")[0] for line in said] == ["keystone", "nova", "cinder", "The lab"]

    with other:
        assert other.user("p1").cinder("GET", f"/volumes/{volume}").status == 200
        # Another process may take the lab down too, and doing it twice is fine.
        for _ in range(2):
            subprocess.run([sys.executable, "-m", "dedangle.lab", "down", "--home", str(tmp_path)], check=True)
        assert processes_of(tmp_path) == []
        assert not other.is_up()


@pytest.mark.parametrize(
    ("sign", "when"),
    [(signal.SIGKILL, "The lab is up"), pytest.param(signal.SIGINT, "keystone", marks=pytest.mark.thorough)],
)
def test_a_lab_ends_with_the_process_that_started_it(tmp_path: Path, sign: signal.Signals, when: str) -> None:
    with another_process_runs(Cloud(tmp_path, manager=NOVA_MANAGER), until=when) as parent:
        os.kill(parent.pid, sign)
        parent.wait()

    wait_for("every process ended", lambda: processes_of(tmp_path) == [], seconds=10)
