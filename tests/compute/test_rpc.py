# SPDX-License-Identifier: Apache-2.0
"""The command has the server's own host carry removals out, over Nova's message bus, where that host runs dedangle."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dedangle.lab import rows
from dedangle.lab.breakers import Breaker
from dedangle.lab.builders import Builder, Server
from dedangle.lab.cloud import MANAGER, Cloud
from shell import Dedangle, journal

NOVA_MANAGER = "nova.compute.manager.ComputeManager"


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory, mariadb: None) -> Iterator[Cloud]:
    overrides = {"dedangle": {"cell_timeout": 5}}
    with Cloud(tmp_path_factory.mktemp("bus"), database="mariadb", nova_overrides=overrides) as cloud:
        # Another project's server, which the credentials must see.
        Builder(cloud, "p2").server("control", 1)
        yield cloud


def broken(cloud: Cloud, name: str) -> Server:
    builder = Builder(cloud)
    server = builder.server(name, 2)
    Breaker(builder).lose_attachment(server.id, server.volumes[1])
    return server


def test_a_stopped_server_is_cleaned_by_its_host(bus: Cloud) -> None:
    dedangle = Dedangle(bus)
    server = broken(bus, "stopped")
    Builder(bus).stop(server.id)
    before = rows.snapshot(bus.home)

    done = dedangle("cleanup", server.id, "--execute", "--yes", "-f", "json")

    assert done.code == 0, done.err
    assert [(each["code"], each["outcome"]) for each in done.findings] == [("mapping-without-attachment", "removed")]
    [change] = rows.diff(before, rows.snapshot(bus.home))
    assert (change.table, change.after and change.after["volume_id"]) == ("mappings", server.volumes[1])
    assert change.columns["has_deleted_at"] == (0, 1)
    lines = journal(bus.home.state / "dedangle")
    # Written down where it was asked for, and where it was done.
    assert len([each for each in lines if each["phase"] == "intent" and each["server_id"] == server.id]) == 2
    log = (bus.logs / "nova.log").read_text(errors="replace")
    assert f"of volume {server.volumes[1]} from instance {server.id}" in log

    again = dedangle("cleanup", server.id, "--execute", "--yes")
    assert again.code == 0
    assert "There is nothing to do" in again.err


def test_the_doctor_finds_the_host_with_dedangle(bus: Cloud) -> None:
    done = Dedangle(bus)("doctor", "-f", "json")
    assert done.code == 0, done.out
    assert {each["state"] for each in json.loads(done.out)} == {"ok"}
    [hosts] = [each["sentence"] for each in json.loads(done.out) if each["check"] == "hosts"]
    assert hosts.startswith("Compute hosts that are up: 1; asked: 1; running dedangle: 1 (")


def test_a_running_guest_that_may_have_the_disk_is_left_alone(bus: Cloud) -> None:
    server = broken(bus, "running")
    before = rows.snapshot(bus.home)
    done = Dedangle(bus)("cleanup", server.id, "--execute", "--yes", "-f", "json")
    assert [(each["code"], each["disposition"]) for each in done.findings] == [("mapping-without-attachment", "report")]
    # The lab's guests are the fake driver's, which cannot tell what disks they have.
    assert any("only nova-compute with libvirt" in each for each in done.findings[0]["evidence"])
    assert rows.diff(before, rows.snapshot(bus.home)) == []


def test_a_running_server_is_stopped_cleaned_by_its_host_and_started(bus: Cloud) -> None:
    server = broken(bus, "restarted")
    before = rows.snapshot(bus.home)
    done = Dedangle(bus)("cleanup", server.id, "--restart", "--execute", "--yes", "-f", "json")
    assert [(each["code"], each["outcome"]) for each in done.findings] == [("mapping-without-attachment", "removed")]
    changes = {each.table: each for each in rows.diff(before, rows.snapshot(bus.home))}
    assert changes.keys() <= {"mappings", "servers"}
    assert (changes["mappings"].after or {})["volume_id"] == server.volumes[1]
    assert Builder(bus).status(server.id) == "ACTIVE"
    log = (bus.logs / "nova.log").read_text(errors="replace")
    assert f"of volume {server.volumes[1]} from instance {server.id}" in log


def test_a_host_without_dedangle_takes_the_connection_down_as_any_nova_compute_does(bus: Cloud) -> None:
    server = broken(bus, "stock")
    Builder(bus).stop(server.id)
    before = rows.snapshot(bus.home)
    with nova_compute(bus, NOVA_MANAGER):
        done = Dedangle(bus)("cleanup", server.id, "--execute", "--yes", "-f", "json")
    assert [(each["code"], each["outcome"]) for each in done.findings] == [("mapping-without-attachment", "removed")]
    [change] = rows.diff(before, rows.snapshot(bus.home))
    assert (change.table, change.columns["has_deleted_at"]) == ("mappings", (0, 1))
    log = (bus.logs / "nova.log").read_text(errors="replace")
    assert f"Attempting to driver detach volume {server.volumes[1]}" in log


def test_a_server_that_is_started_meanwhile_keeps_its_disk_on_a_host_without_dedangle(
    bus: Cloud, tmp_path: Path
) -> None:
    with nova_compute(bus, NOVA_MANAGER):
        # Made here: the fake driver forgets its guests with its process, and starts none that it does not know.
        server = broken(bus, "started")
        Builder(bus).stop(server.id)
        before = rows.snapshot(bus.home)
        done = Dedangle(bus).cleanup_while(tmp_path / "held", server.id, Builder(bus).start, "--execute", "--yes")
    assert done.code == 5
    assert "not stopped any more" in done.out
    changed = [each for each in rows.diff(before, rows.snapshot(bus.home)) if each.table != "servers"]
    assert changed == []
    log = (bus.logs / "nova.log").read_text(errors="replace")
    assert f"Attempting to driver detach volume {server.volumes[1]}" not in log


def test_a_host_that_does_not_answer_is_not_presumed_to_agree(bus: Cloud) -> None:
    server = broken(bus, "unasked")
    Builder(bus).stop(server.id)
    before = rows.snapshot(bus.home)
    with nova_compute(bus, None):
        done = Dedangle(bus)("cleanup", server.id, "--execute", "--yes", "-f", "json")
    assert [(each["code"], each["disposition"]) for each in done.findings] == [("mapping-without-attachment", "report")]
    assert "--no-host" in done.findings[0]["reason"]
    assert rows.diff(before, rows.snapshot(bus.home)) == []


@contextlib.contextmanager
def nova_compute(cloud: Cloud, manager: str | None) -> Iterator[None]:
    """Run nova-compute with another manager for a while, or none at all."""
    cloud.stop("nova-compute")
    try:
        if manager:
            cloud.manager = manager
            cloud.start("nova-compute")
        yield
    finally:
        cloud.manager = MANAGER
        cloud.stop("nova-compute")
        cloud.start("nova-compute")
