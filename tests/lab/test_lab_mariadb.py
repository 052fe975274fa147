# SPDX-License-Identifier: Apache-2.0
"""The lab on MariaDB and RabbitMQ, where every service is a process of its own."""

from pathlib import Path

import pytest
from labs import NOVA_MANAGER, another_process_runs, processes_of

from dedangle.lab import rows
from dedangle.lab.breakers import Breaker
from dedangle.lab.builders import Builder
from dedangle.lab.client import wait_for
from dedangle.lab.cloud import Cloud


@pytest.mark.thorough
def test_every_service_is_a_process_of_its_own_and_ends_with_the_lab(tmp_path: Path, mariadb: None) -> None:
    cloud = Cloud(tmp_path, manager=NOVA_MANAGER, database="mariadb")

    with another_process_runs(cloud, until="The lab is up") as parent:
        builder = Builder(cloud)
        server = builder.server("real", volumes=1)
        Breaker(builder).lose_attachment(server.id, server.volumes[1])
        before = rows.snapshot(cloud.home)
        cloud.restart("nova-compute")
        assert rows.snapshot(cloud.home) == before

        action = builder.reboot(server.id)

        assert [event["result"] for event in action["events"]] == ["Success"]
        [change] = rows.diff(before, rows.snapshot(cloud.home))
        assert (change.table, change.columns["has_deleted_at"]) == ("mappings", (0, 1))
        # It is ours by now.
        cloud.stop("nova-compute")
        parent.kill()
        parent.wait()
        wait_for("every process ended", lambda: processes_of(tmp_path) == [], seconds=20)
