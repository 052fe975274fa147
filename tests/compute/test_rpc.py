# SPDX-License-Identifier: Apache-2.0
"""The command has the server's own host carry removals out, over Nova's message bus, where that host runs dedangle."""

import contextlib
import json
import time
from collections.abc import Iterator

import pytest

from cases.stage import Stage
from dedangle.lab import rows
from dedangle.lab.breakers import Breaker
from dedangle.lab.builders import IMAGE, Builder, Server
from dedangle.lab.client import wait_for
from dedangle.lab.cloud import MANAGER, Cloud
from dedangle.lab.faults import Injected
from shell import Dedangle, finish, journal

NOVA_MANAGER = "nova.compute.manager.ComputeManager"


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory, mariadb: None) -> Iterator[Cloud]:
    overrides = {"dedangle": {"cell_timeout": 20, "reboot_budget": 60}}
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


def test_a_host_without_dedangle_is_left_its_connection_unless_an_operator_says_otherwise(bus: Cloud) -> None:
    """Nothing shows there that the address is still the volume's own, and nothing keeps the server from starting."""
    with nova_compute(bus, NOVA_MANAGER):
        server = broken(bus, "stock")
        Builder(bus).stop(server.id)
        before = rows.snapshot(bus.home)
        dedangle = Dedangle(bus)
        kept = dedangle("cleanup", server.id, "--execute", "--yes", "-f", "json")
        (finding,) = kept.findings
        assert (finding["code"], finding["outcome"]) == ("mapping-without-attachment", None)
        assert "--no-host" in finding["reason"]
        assert rows.diff(before, rows.snapshot(bus.home)) == []
        done = dedangle("cleanup", server.id, "--no-host", "--execute", "--yes", "-f", "json")
    assert [(each["code"], each["outcome"]) for each in done.findings] == [("mapping-without-attachment", "removed")]
    [change] = rows.diff(before, rows.snapshot(bus.home))
    assert (change.table, change.columns["has_deleted_at"]) == ("mappings", (0, 1))


@pytest.mark.parametrize(
    "action",
    [
        "os-start",
        pytest.param("rescue", marks=pytest.mark.thorough),
        pytest.param("resize", marks=pytest.mark.thorough),
    ],
)
def test_number_3_a_server_cannot_be_changed_while_its_host_cleans_it(bus: Cloud, action: str) -> None:
    """They take no instance lock: before the claim one of them could connect what is being torn down."""
    server = broken(bus, f"claimed-{action}")
    builder, dedangle = Builder(bus), Dedangle(bus)
    builder.stop(server.id)
    body = {"os-start": None, "rescue": {"rescue_image_ref": IMAGE}, "resize": {"flavorRef": "2"}}
    with slow(bus, server):
        cleaning = dedangle.start("cleanup", server.id, "--execute", "--yes", "-f", "json")
        wait_for("the claim", lambda: claim(bus, server) is not None or cleaning.poll() is not None, seconds=120)
        assert claim(bus, server) == "image_snapshot_pending"
        answer = builder.user.nova("POST", f"/servers/{server.id}/action", {action: body[action]})
        done = finish(cleaning)
    assert answer.status == 409
    assert [each["outcome"] for each in done.findings] == ["removed"], done.err
    assert claim(bus, server) is None
    builder.start(server.id)
    assert dedangle("audit", "--server", server.id, "-f", "json").findings == []


def test_number_3_a_server_that_is_being_started_is_not_cleaned(bus: Cloud) -> None:
    server = broken(bus, "started")
    builder = Builder(bus)
    builder.stop(server.id)
    before = rows.snapshot(bus.home)
    with slow(bus, server):
        cleaning = Dedangle(bus).start("cleanup", server.id, "--execute", "--yes", "-f", "json")
        # nova-compute starts it a second after dedangle began to look, and long before it checks again on the host.
        time.sleep(1)
        builder.start(server.id)
        done = finish(cleaning)
    assert "removed" not in [each["outcome"] for each in done.findings]
    assert [each for each in rows.diff(before, rows.snapshot(bus.home)) if each.table != "servers"] == []


def test_number_3_a_claim_does_not_outlive_its_host(bus: Cloud, impatient: tuple[str, str]) -> None:
    server = broken(bus, "killed")
    Builder(bus).stop(server.id)
    with slow(bus, server):
        cleaning = Dedangle(bus).start("cleanup", server.id, "--execute", "--yes", "-f", "json", *impatient)
        wait_for("the claim", lambda: claim(bus, server) is not None or cleaning.poll() is not None, seconds=120)
        bus.kill("nova-compute")
        bus.start("nova-compute")
    wait_for("the claim given back", lambda: claim(bus, server) is None)
    assert "removed" not in [each["outcome"] for each in finish(cleaning).findings]
    assert server.volumes[1] in [each["volume_id"] for each in rows.snapshot(bus.home).mappings_of(server.id)]


def slow(cloud: Cloud, server: Server) -> Injected:
    """Let Cinder take two seconds to tell of the volume whose attachment is lost, to the command and to the host."""
    return cloud.faults.inject("cinder", method="GET", path=rf"/v3/.*volumes/{server.volumes[1]}", delay=2)


def claim(cloud: Cloud, server: Server) -> object:
    """The server's task_state, which nobody but dedangle sets in these tests."""
    return rows.snapshot(cloud.home).servers[f"cell1/{server.id}"]["task_state"]


def test_a_host_that_does_not_answer_is_not_presumed_to_agree(bus: Cloud, impatient: tuple[str, str]) -> None:
    server = broken(bus, "unasked")
    Builder(bus).stop(server.id)
    before = rows.snapshot(bus.home)
    with nova_compute(bus, None):
        done = Dedangle(bus)("cleanup", server.id, "--execute", "--yes", "-f", "json", *impatient)
    assert [(each["code"], each["disposition"]) for each in done.findings] == [("mapping-without-attachment", "report")]
    assert "--no-host" in done.findings[0]["reason"]
    assert rows.diff(before, rows.snapshot(bus.home)) == []


def test_what_was_never_connected_is_removed_of_a_server_in_error_too(bus: Cloud) -> None:
    """Its host claims no server in ERROR, so this always ended in changed-meanwhile."""
    stage = Stage(bus)
    server = stage.server(0)
    attachment = stage.breaks.reserve_attachment(server.id, stage.user.volume())
    mapping = stage.breaks.mapping_never_attached(server.id, stage.user.volume())
    bus.admin.nova("POST", f"/servers/{server.id}/action", {"os-resetState": {"state": "error"}}, expect=202)
    rows.settle(bus.home)
    done = Dedangle(bus)("cleanup", server.id, "--execute", "--yes", "-f", "json")
    assert sorted(each["outcome"] for each in done.findings) == ["removed", "removed"], done
    after = rows.snapshot(bus.home)
    assert after.attachments[attachment]["deleted"]
    assert mapping not in {each["uuid"] for each in after.mappings_of(server.id)}


def test_a_soft_deleted_server_is_cleaned_without_its_host(bus: Cloud) -> None:
    """nova-compute does not clear a task_state that a crash leaves on such a server, so its host does not claim it."""
    stage = Stage(bus)
    server = stage.server(2)
    stage.breaks.lose_attachment(server.id, server.volumes[1])
    stage.user.stop(server.id)
    stage.edit_server(server, vm_state="soft-delete")
    (kept,) = Dedangle(bus)("cleanup", server.id, "--execute", "--yes", "-f", "json").findings
    assert (kept["disposition"], kept["next"]) == ("report", [f"dedangle cleanup {server.id} --no-host --execute"])
    (gone,) = Dedangle(bus)("cleanup", server.id, "--no-host", "--execute", "--yes", "-f", "json").findings
    assert gone["outcome"] == "removed"


def test_users_go_on_while_what_was_never_connected_is_removed(bus: Cloud) -> None:
    """There is nothing to disconnect, so nothing needs the claim, with which nova-api refuses a detach or a reboot."""
    stage = Stage(bus)
    server = stage.server(0)
    attachment = stage.breaks.reserve_attachment(server.id, stage.user.volume())
    stage.breaks.mapping_never_attached(server.id, stage.user.volume())
    rows.settle(bus.home)
    with bus.faults.inject("cinder", method="DELETE", path=rf"/v3/.*attachments/{attachment}", delay=2):
        cleaning = Dedangle(bus).start("cleanup", server.id, "--execute", "--yes", "-f", "json")
        claims = set()
        while cleaning.poll() is None:
            claims.add(claim(bus, server))
        done = finish(cleaning)
    assert sorted(each["outcome"] for each in done.findings) == ["removed", "removed"], done
    assert claims == {None}


def test_no_proof_is_waited_for_that_the_host_of_a_deleted_server_can_never_give(bus: Cloud) -> None:
    """The lab's virt driver reports no guests, as any but libvirt's; the host is up and runs dedangle."""
    stage = Stage(bus)
    server = stage.server(0)
    stage.breaks.delete_server_while_cinder_fails(server.id)
    done = Dedangle(bus)("cleanup", server.id, "--execute", "--yes", "-f", "json")
    assert [(each["code"], each["outcome"]) for each in done.findings] == [("attachment-of-deleted-server", "removed")]
    assert rows.snapshot(bus.home).attachments_of(server.id) == []


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


def lost_by_cinder(cloud: Cloud, names: tuple[str, ...]) -> list[Server]:
    """Servers whose youngest attachments Cinder lost, one made right after the other."""
    builder = Builder(cloud)
    servers = [builder.server(name, 0) for name in names]
    volumes = [builder.volume() for _ in servers]
    for server, volume in zip(servers, volumes, strict=True):
        builder.attach(server.id, volume)
    for volume in volumes:
        reset = {"os-reset_status": {"status": "available", "attach_status": "detached"}}
        cloud.admin.cinder("POST", f"/volumes/{volume}/action", reset, expect=202)
    rows.settle(cloud.home)
    return servers


def test_number_5_three_servers_that_lost_what_was_made_last_keep_their_mappings(bus: Cloud) -> None:
    """Cinder's database came back from a backup, and the disks are in use."""
    # The last test of the file: with these servers in the cloud no lost attachment is believed to be lost.
    servers = lost_by_cinder(bus, ("restored-1", "restored-2", "restored-3"))
    before = rows.snapshot(bus.home)
    for server in servers:
        Builder(bus).reboot(server.id, "HARD")
        done = Dedangle(bus)("cleanup", server.id, "--restart", "--execute", "--yes", "-f", "json")
        (finding,) = done.findings
        assert (finding["code"], finding["outcome"]) == ("attachment-lost-in-use", None)
        assert any("may have been restored from a backup" in each for each in finding["evidence"])
    assert [each for each in rows.diff(before, rows.snapshot(bus.home)) if each.table != "servers"] == []
