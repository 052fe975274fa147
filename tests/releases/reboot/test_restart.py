# SPDX-License-Identifier: Apache-2.0
"""nova-compute comes back to a reboot that was under way, with an anonymous administrator's context."""

import pytest

from cloud import Cloud, Disconnected


@pytest.mark.parametrize(
    ("task_state", "guests_off"),
    [
        ("reboot_pending", False),
        ("reboot_pending_hard", False),
        ("reboot_started", True),
        ("reboot_started_hard", True),
    ],
)
def test_what_dangles_goes_and_nothing_else(cloud: Cloud, task_state: str, guests_off: bool) -> None:
    broken, healthy = cloud.server(2), cloud.server(1)
    before = cloud.attachments(healthy)
    lost, kept = broken.volumes
    cloud.lose_attachment(lost)
    cloud.restart_host(broken, healthy, task_state=task_state, guests_off=guests_off)
    assert cloud.in_guest(broken) == cloud.mapped(broken) == {kept}
    assert cloud.disconnected[lost] == [Disconnected(mapped=True, running=False)]
    assert [each.get("outcome") for each in cloud.journal()] == [None, None, "removed"]
    assert cloud.in_guest(healthy) == cloud.mapped(healthy) == set(healthy.volumes)
    assert cloud.attachments(healthy) == before


@pytest.mark.parametrize("why", ["cinder is down", "no credentials"])
def test_nothing_goes_that_cannot_be_proved(cloud: Cloud, why: str) -> None:
    server = cloud.server(2)
    cloud.lose_attachment(server.volumes[0])
    if why == "cinder is down":
        cloud.rest.down_from = 0
    else:
        cloud.flags(group="dedangle", auth_type=None)
    cloud.restart_host(server, task_state="reboot_pending_hard", guests_off=False)
    assert cloud.in_guest(server) == cloud.mapped(server) == set(server.volumes)
    assert not cloud.journal()
