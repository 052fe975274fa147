# SPDX-License-Identifier: Apache-2.0
"""`cleanup --restart`: stopped only where that enables something, and started again whatever came of it."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cases.stage import Stage
from dedangle.lab import rows
from dedangle.lab.builders import Server
from dedangle.lab.client import wait_for
from dedangle.lab.cloud import Cloud
from shell import Dedangle, finish

EXECUTE = ("--restart", "--no-host", "--execute", "--yes", "-f", "json")


@pytest.fixture
def broken(stage: Stage) -> Server:
    """A running server with a lost attachment, of its second volume."""
    server = stage.server(2)
    stage.breaks.lose_attachment(server.id, server.volumes[1])
    return server


def actions(stage: Stage, server: Server) -> list[str]:
    """The server's instance actions as its user sees them, oldest first."""
    answer = stage.user.user.nova("GET", f"/servers/{server.id}/os-instance-actions", expect=200)
    return [each["action"] for each in reversed(answer.body["instanceActions"])]


@contextmanager
def failing_once_stopped(stage: Stage, server: Server, api: str, **fault: Any) -> Iterator["subprocess.Popen[str]"]:
    """A cleanup that has asked Nova to stop the server, and to which an API fails from then on."""
    faults = stage.cloud.faults
    # The answer is held back, so that the fault is there before anything follows from it.
    with (
        faults.inject("nova", method="POST", path=rf".*/servers/{server.id}/action", after=3, times=1),
        Dedangle(stage.cloud).start("cleanup", server.id, *EXECUTE) as process,
    ):
        wait_for("the stop", lambda: "stop" in actions(stage, server))
        with faults.inject(api, **fault):
            yield process


def outcomes(findings: list[dict[str, Any]]) -> list[str]:
    return [each["outcome"] for each in findings]


def test_the_plan_says_what_stands_in_the_way_of_a_running_server(dedangle: Dedangle, broken: Server) -> None:
    (found,) = dedangle("cleanup", broken.id, "-f", "json").findings
    assert found["disposition"] == "report"
    assert "The server is ACTIVE." in found["reason"]
    assert f"dedangle cleanup {broken.id} --restart --no-host --execute" in found["reason"]
    assert f"openstack server reboot --hard {broken.id}" in found["reason"]
    text = dedangle("cleanup", broken.id).out
    mapping = f"   Remedy:     soft-delete Nova's mapping {found['bdm_uuid']} of volume {broken.volumes[1]}"
    assert mapping in text.splitlines()
    assert "   Decision:   The server is ACTIVE." in text
    for fact in found["evidence"]:
        assert fact in text


def test_a_running_server_is_stopped_cleaned_and_started(
    cloud: Cloud, dedangle: Dedangle, stage: Stage, broken: Server
) -> None:
    before = rows.snapshot(cloud.home)
    (planned,) = dedangle("cleanup", broken.id, "--restart", "--no-host", "-f", "json").findings
    assert planned["disposition"] == "remove"
    assert not rows.diff(before, rows.snapshot(cloud.home))

    done = dedangle("cleanup", broken.id, *EXECUTE)
    assert (done.code, outcomes(done.findings)) == (0, ["removed"])
    # The removal rests on what was read after the stop.
    assert [fact for fact in done.findings[0]["evidence"] if f"server {broken.id} is stopped" in fact]
    assert done.findings[0]["evidence"] != planned["evidence"]
    # But it runs again when that is read.
    assert (done.findings[0]["vm_state"], planned["vm_state"]) == ("active", "active")
    (change,) = rows.diff(before, rows.snapshot(cloud.home))
    assert (change.table, change.after and change.after["volume_id"]) == ("mappings", broken.volumes[1])
    assert actions(stage, broken)[-3:] == ["stop", "dedangle_cleanup", "start"]
    assert stage.user.status(broken.id) == "ACTIVE"


def test_a_server_without_anything_to_do_is_not_stopped(dedangle: Dedangle, stage: Stage) -> None:
    healthy, reserved, blocked = (stage.server(1) for _ in range(3))
    # What needs no stop, and what a stop does not enable: without --no-host, and the root disk.
    stage.breaks.reserve_attachment(reserved.id, stage.user.volume())
    stage.breaks.lose_attachment(blocked.id, blocked.volumes[0])
    done = dedangle("cleanup", healthy.id, reserved.id, blocked.id, *EXECUTE)
    assert outcomes(done.findings) == ["removed", None]
    for server in (healthy, reserved, blocked):
        assert "stop" not in actions(stage, server)


def test_without_leave_to_go_without_the_host_it_is_not_stopped(
    dedangle: Dedangle, stage: Stage, broken: Server
) -> None:
    done = dedangle("cleanup", broken.id, "--restart", "--execute", "--yes", "-f", "json")
    assert "--restart --no-host --execute" in done.findings[0]["reason"]
    assert "stop" not in actions(stage, broken)


def test_a_stopped_server_stays_stopped(dedangle: Dedangle, stage: Stage, broken: Server) -> None:
    stage.user.stop(broken.id)
    assert outcomes(dedangle("cleanup", broken.id, *EXECUTE).findings) == ["removed"]
    assert actions(stage, broken)[-2:] == ["stop", "dedangle_cleanup"]
    assert stage.user.status(broken.id) == "SHUTOFF"


def test_it_is_started_when_cleaning_failed(stage: Stage, broken: Server) -> None:
    with failing_once_stopped(stage, broken, "cinder", method="GET", path=r"/v3/.*attachments", status=500) as process:
        done = finish(process)
    assert (done.code, outcomes(done.findings)) == (5, ["failed"])
    assert stage.user.status(broken.id) == "ACTIVE"
    assert "dedangle_cleanup" not in actions(stage, broken)


@pytest.mark.parametrize(
    "status", [pytest.param(403, marks=pytest.mark.thorough), pytest.param(409, marks=pytest.mark.thorough), 500]
)
def test_a_server_that_nova_does_not_stop_is_not_cleaned(
    cloud: Cloud, dedangle: Dedangle, stage: Stage, broken: Server, status: int
) -> None:
    before = rows.snapshot(cloud.home)
    with cloud.faults.inject("nova", method="POST", path=rf".*/servers/{broken.id}/action", status=status):
        done = dedangle("cleanup", broken.id, *EXECUTE)
    assert (done.code, outcomes(done.findings)) == (5, ["failed"])
    assert f"the server was not stopped: Nova answered {status} to os-stop" in done.findings[0]["outcome_detail"]
    assert not rows.diff(before, rows.snapshot(cloud.home))
    assert not (cloud.home.state / "dedangle" / "stopped" / broken.id).exists()


def test_a_server_that_nova_does_not_start_is_told_and_remembered(
    dedangle: Dedangle, stage: Stage, broken: Server
) -> None:
    with failing_once_stopped(stage, broken, "nova", method="POST", path=r".*/action", status=409) as process:
        done = finish(process)
    assert (done.code, outcomes(done.findings)) == (5, ["removed"])
    assert f"When its status is SHUTOFF, run: openstack server start {broken.id}" in done.err
    assert stage.user.status(broken.id) == "SHUTOFF"

    told = dedangle("cleanup", broken.id)
    assert told.code == 5
    assert f"Run: dedangle cleanup {broken.id} --restart --execute" in told.err
    assert stage.user.status(broken.id) == "SHUTOFF"
    assert dedangle("cleanup", broken.id, "--restart", "--execute", "--yes").code == 0
    assert stage.user.status(broken.id) == "ACTIVE"
    assert dedangle("cleanup", broken.id).code == 0


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.thorough)]
)
def test_it_is_started_when_a_signal_ends_the_run(
    dedangle: Dedangle, stage: Stage, broken: Server, signum: signal.Signals, code: int
) -> None:
    with dedangle.start("cleanup", broken.id, *EXECUTE) as process:
        wait_for("the stop", lambda: "stop" in actions(stage, broken))
        process.send_signal(signum)
        done = finish(process)
    assert done.code == code, done.err
    assert "Stopped by a signal; no change was interrupted" in done.err
    assert stage.user.status(broken.id) == "ACTIVE"


def test_a_root_disk_is_not_taken_from_a_server_that_is_to_start(dedangle: Dedangle, broken: Server) -> None:
    done = dedangle("cleanup", broken.id, *EXECUTE, "--allow-root")
    assert done.code == 2
    assert "cannot be used together" in done.err


def test_help_names_the_cost(dedangle: Dedangle) -> None:
    text = " ".join(dedangle("cleanup", "--help").out.split())
    assert "This interrupts everything that runs on the server" in text
