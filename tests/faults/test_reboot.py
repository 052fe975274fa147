# SPDX-License-Identifier: Apache-2.0
"""A reboot goes on whatever Cinder does, and removes nothing that it could not prove."""

from typing import Any

import pytest

from dedangle.lab import rows
from dedangle.lab.breakers import Breaker
from dedangle.lab.builders import Builder, Server
from dedangle.lab.cloud import Cloud

LIST, OF_VOLUME = {"query": "instance_id="}, {"query": "volume_id="}
SHOWN, VOLUME = {"path": r"/v3/.*attachments/.+"}, {"path": r"/v3/.*volumes/.+"}
FAULTS = {
    "500": {"status": 500},
    "503": {"status": 503},
    "403": {"status": 403},
    "a proxy's 404": {"proxy_404": True},
    "a reset": {"drop": "request"},
    "a lost answer": {"drop": "answer"},
    # The list is two requests, which must end within reboot_budget.
    "no answer in time": {"delay": 11},
}
CALLS = {
    "list": LIST,
    "end of the list": {**LIST, "skip": 1},
    "lost attachment": SHOWN,
    "volume": VOLUME,
    "attachments of the volume": OF_VOLUME,
}


def repeats(fault: str) -> list[pytest.MarkDecorator]:
    """Mark what goes the same way through dedangle as the status 500."""
    return [pytest.mark.thorough] * (fault in ("503", "403", "a reset"))


@pytest.fixture(scope="module")
def broken(cloud: Cloud) -> Server:
    """A server that lost an attachment."""
    builder = Builder(cloud)
    server = builder.server("rebooted", 2)
    Breaker(builder).lose_attachment(server.id, server.volumes[1])
    return server


@pytest.fixture(scope="module")
def forgotten(cloud: Cloud) -> Server:
    """A server for which an attachment was reserved that Nova does not know."""
    builder = Builder(cloud)
    server = builder.server("forgotten", 1)
    Breaker(builder).reserve_attachment(server.id, builder.volume())
    return server


@pytest.mark.parametrize(
    ("call", "fault", "kind"),
    [
        *(
            pytest.param(LIST, fault, "HARD", marks=repeats(name), id=f"{name} to the list")
            for name, fault in FAULTS.items()
        ),
        *(
            pytest.param(
                call,
                FAULTS[fault],
                "SOFT",
                marks=[pytest.mark.thorough] * (fault != "a proxy's 404"),
                id=f"{fault} to the {name}",
            )
            for name, call in CALLS.items()
            for fault in ("500", "a proxy's 404", "a reset")
            if name != "list"
        ),
    ],
)
def test_reboot_goes_on_and_removes_nothing_when_cinder_cannot_be_read(
    cloud: Cloud, broken: Server, call: dict[str, Any], fault: dict[str, Any], kind: Any
) -> None:
    before = rows.snapshot(cloud.home)
    with cloud.faults.inject("cinder", method="GET", user_agent="dedangle", **call, **fault):
        action = Builder(cloud).reboot(broken.id, kind)
    assert {each["event"]: each["result"] for each in action["events"]}["compute_reboot_instance"] == "Success"
    assert not rows.diff(before, rows.snapshot(cloud.home))


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"status": 409}, id="409"),
        *(pytest.param(fault, marks=repeats(name), id=name) for name, fault in FAULTS.items()),
    ],
)
def test_reboot_goes_on_when_cinder_does_not_delete(cloud: Cloud, forgotten: Server, fault: dict[str, Any]) -> None:
    before = rows.snapshot(cloud.home)
    with cloud.faults.inject("cinder", method="DELETE", user_agent="dedangle", **fault):
        action = Builder(cloud).reboot(forgotten.id, "SOFT")
    assert {each["event"] for each in action["events"]} == {"compute_reboot_instance", "compute_remove_dangling"}
    assert {each["result"] for each in action["events"]} == {"Success"}
    changed = rows.diff(before, rows.snapshot(cloud.home))
    # Where only the answer is late or lost, Cinder has done it.
    assert {each.table for each in changed} <= ({"attachments", "volumes"} if {"drop", "delay"} & {*fault} else set())
    if changed:
        Breaker(Builder(cloud)).reserve_attachment(forgotten.id, Builder(cloud).volume())


def test_what_the_faults_left_goes_with_the_next_reboot(cloud: Cloud, broken: Server, forgotten: Server) -> None:
    for server, kept in ((broken, {broken.volumes[0], broken.volumes[2]}), (forgotten, set(forgotten.volumes))):
        Builder(cloud).reboot(server.id)
        now = rows.snapshot(cloud.home)
        assert {each["volume_id"] for each in now.mappings_of(server.id)} == kept
        assert {each["volume_id"] for each in now.attachments_of(server.id)} == kept


def test_soft_reboot_with_something_to_remove_shuts_the_guest_down_first(cloud: Cloud) -> None:
    builder = Builder(cloud)
    server = builder.server("softly", 2)
    Breaker(builder).lose_attachment(server.id, server.volumes[1])
    before = rows.snapshot(cloud.home)
    action = builder.reboot(server.id, "SOFT")
    assert {each["event"]: each["result"] for each in action["events"]} == {
        "compute_reboot_instance": "Success",
        "compute_remove_dangling": "Success",
    }
    (change,) = rows.diff(before, rows.snapshot(cloud.home))
    assert (change.table, change.after and change.after["volume_id"]) == ("mappings", server.volumes[1])
    assert change.after
    assert change.after["deleted"] == change.after["id"]
    log = (cloud.logs / "nova.log").read_text(errors="replace")
    assert f"of volume {server.volumes[1]} from instance {server.id}" in log


def test_soft_reboot_of_a_healthy_server_is_novas_own(cloud: Cloud) -> None:
    builder = Builder(cloud)
    server = builder.server("healthy", 1)
    before = rows.snapshot(cloud.home)
    action = builder.reboot(server.id, "SOFT")
    assert [each["event"] for each in action["events"]] == ["compute_reboot_instance"]
    assert not rows.diff(before, rows.snapshot(cloud.home))
