# SPDX-License-Identifier: Apache-2.0
"""A reboot goes on whatever Cinder does, and removes nothing that it could not prove."""

from typing import Any

import pytest

from dedangle.lab import rows
from dedangle.lab.breakers import Breaker
from dedangle.lab.builders import Builder
from dedangle.lab.cloud import Cloud


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"status": 500}, "HARD"),
        ({"proxy_404": True}, "HARD"),
        ({"status": 403}, "SOFT"),
        ({"drop": "request"}, "SOFT"),
    ],
    ids=["500", "a proxy's 404", "403", "a reset"],
)
def test_reboot_goes_on_without_cinder(cloud: Cloud, fault: dict[str, Any], kind: Any) -> None:
    builder = Builder(cloud)
    server = builder.server("rebooted", 2)
    Breaker(builder).lose_attachment(server.id, server.volumes[1])
    before = rows.snapshot(cloud.home)
    with cloud.faults.inject("cinder", method="GET", path=r"/v3/.*attachments.*", user_agent="dedangle", **fault):
        action = builder.reboot(server.id, kind)
    events = [(each["event"], each["result"]) for each in action["events"]]
    assert events == [("compute_reboot_instance", "Success")]
    assert not rows.diff(before, rows.snapshot(cloud.home))


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
