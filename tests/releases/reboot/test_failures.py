# SPDX-License-Identifier: Apache-2.0
"""Whatever fails, the reboot does not, and no mapping goes while its disk stays in the guest."""

import threading
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
import requests

from cloud import Cloud, Server

REBOOTED = {"compute_reboot_instance": "Success"}
LIST = r"GET attachments\?instance_id"


@pytest.fixture
def server(cloud: Cloud) -> Server:
    server = cloud.server(2)
    cloud.lose_attachment(server.volumes[0])
    return server


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """What a thread waits for that is given up, and gets when the test is over."""
    event = threading.Event()
    yield event
    event.set()


FAULTS: list[tuple[str, int | Exception]] = [
    (LIST, 500),
    (LIST, 503),
    (LIST, 403),
    (LIST, 404),
    (LIST, requests.exceptions.ConnectionError()),
    (LIST, requests.exceptions.ReadTimeout()),
    (r"GET attachments/", 500),
    (r"GET attachments/", 404),
    (r"GET attachments\?volume_id", 403),
    (r"GET volumes/", 404),
    (r"GET volumes/", requests.exceptions.ConnectionError()),
]


@pytest.mark.parametrize("kind", ["HARD", "SOFT"])
def test_reads_that_fail(cloud: Cloud, server: Server, kind: str) -> None:
    for warnings, fault in enumerate(FAULTS, start=1):
        cloud.rest.faults = [fault]
        assert cloud.reboot(server, kind) == REBOOTED, fault
        _assert_untouched(cloud, server)
        assert cloud.log.count("Dangling volume attachments were not checked") == warnings


@pytest.mark.parametrize("delay", [5.0, 0.4], ids=["one answer", "all together"])
def test_cinder_slower_than_the_budget(cloud: Cloud, server: Server, delay: float) -> None:
    cloud.flags(group="dedangle", reboot_budget=1)
    cloud.rest.delay = delay
    assert cloud.reboot(server, "HARD") == REBOOTED
    assert len(cloud.rest.calls) <= 5
    _assert_untouched(cloud, server)


def test_delete_that_fails(cloud: Cloud) -> None:
    server = cloud.server(1)
    stale = cloud.attach_behind_nova(server, cloud.volume(), None)
    for answer, outcome in ((409, "refused"), (403, "refused"), (500, "failed")):
        cloud.rest.faults = [("DELETE", answer)]
        assert cloud.reboot(server, "HARD")["compute_reboot_instance"] == "Success"
        assert stale in cloud.attachments(server)
        deletes = [each for each in cloud.rest.calls if each.startswith("DELETE")]
        assert deletes == [f"DELETE attachments/{stale}"]
        assert cloud.journal()[-1]["outcome"] == outcome
        assert cloud.in_guest(server) == cloud.mapped(server) == set(server.volumes)


@pytest.mark.parametrize("kind", ["HARD", "SOFT"])
def test_cinder_goes_down_between_any_two_calls(cloud: Cloud, kind: str) -> None:
    server = cloud.server(1)
    (kept,) = server.volumes
    answered = 0
    while True:
        lost = cloud.attach(server)
        cloud.lose_attachment(lost)
        cloud.rest.down_from = answered
        assert cloud.reboot(server, kind)["compute_reboot_instance"] == "Success"
        assert cloud.in_guest(server) == cloud.mapped(server)
        assert kept in cloud.mapped(server)
        if len(cloud.rest.calls) <= answered:
            assert lost not in cloud.mapped(server)
            return
        cloud.rest.down_from = None
        cloud.reboot(server, "HARD")
        assert cloud.in_guest(server) == cloud.mapped(server) == {kept}
        answered += 1


@pytest.mark.parametrize("kind", ["HARD", "SOFT"])
@pytest.mark.parametrize("takes", [0, 30], ids=["fails", "takes too long"])
def test_number_8_a_dead_device_costs_no_more_than_the_budget(
    cloud: Cloud, server: Server, kind: str, takes: int, released: threading.Event
) -> None:
    """With the row the hard reboot would have to connect the dead device, and end in ERROR."""
    lost, kept = server.volumes
    cloud.flags(group="dedangle", reboot_budget=3)
    real = cloud.driver._disconnect_volume

    def disconnect(context: Any, connection_info: Any, instance: Any, *, force: bool = False, **rest: Any) -> Any:
        if connection_info["data"]["volume_id"] != lost:
            return real(context, connection_info, instance, force=force, **rest)
        assert force
        released.wait(takes)
        raise RuntimeError("as it was told to")

    with mock.patch.object(cloud.driver, "_disconnect_volume", disconnect):
        assert cloud.reboot(server, kind) == {**REBOOTED, "compute_remove_dangling": "Success"}
    assert cloud.in_guest(server) == cloud.mapped(server) == {kept}
    (told,) = [each for each in cloud.journal() if each.get("outcome") == "removed"]
    assert "the host may keep the connection" in told["detail"]


@pytest.mark.parametrize("kind", ["HARD", "SOFT"])
def test_guest_that_cannot_be_shut_down(cloud: Cloud, server: Server, kind: str) -> None:
    with cloud.driver_raises("power_off") as mocked:
        assert cloud.reboot(server, kind)["compute_reboot_instance"] == "Success"
    assert mocked.called
    assert cloud.in_guest(server) == cloud.mapped(server) == set(server.volumes)
    assert cloud.reboot(server, "HARD") == {**REBOOTED, "compute_remove_dangling": "Success"}
    assert cloud.in_guest(server) == cloud.mapped(server) == {server.volumes[1]}


def test_journal_that_cannot_be_written(cloud: Cloud, server: Server) -> None:
    (cloud.state / "journal.jsonl").mkdir()
    assert cloud.reboot(server, "SOFT") == REBOOTED
    assert cloud.in_guest(server) == cloud.mapped(server) == set(server.volumes)
    assert server.volumes[0] not in cloud.disconnected


def test_fuse(cloud: Cloud, server: Server) -> None:
    cloud.flags(group="dedangle", max_removals=0)
    assert cloud.reboot(server, "HARD") == REBOOTED
    _assert_untouched(cloud, server)
    assert "No volume attachment is removed" in cloud.log


def _assert_untouched(cloud: Cloud, server: Server) -> None:
    assert cloud.in_guest(server) == cloud.mapped(server) == set(server.volumes)
    assert not [each for each in cloud.rest.calls if each.startswith("DELETE")]
    assert not cloud.journal()
