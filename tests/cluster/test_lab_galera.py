# SPDX-License-Identifier: Apache-2.0
"""The lab on a cluster: what is written through the proxy is on every node, and a node that was killed comes back."""

import json

import sqlalchemy as sa

from cluster.nodes import NUMBERS, Cluster
from dedangle.lab.builders import Builder
from dedangle.lab.client import wait_for
from dedangle.lab.cloud import Cloud
from shell import Dedangle


def test_every_node_has_what_was_written_and_one_that_was_killed_catches_up(cloud: Cloud, cluster: Cluster) -> None:
    builder = Builder(cloud)
    server = builder.server("on-a-cluster", volumes=1)
    for number in NUMBERS:
        assert _mappings(cluster, number, server.id) == 2
    cluster.fail_over(1)
    builder.attach(server.id, builder.volume())
    cloud.start("galera-1")
    assert _mappings(cluster, 1, server.id) == 3
    wait_for("the proxy uses it again", lambda: cluster.states()["n1"] == "UP", 30)


def test_each_node_has_a_folder_of_its_own_for_temporary_tables(cluster: Cluster) -> None:
    """A server that starts deletes all that are there, and a statement of another node then fails with error 6."""
    folders = set()
    for number in NUMBERS:
        with cluster.engine(number).connect() as connection:
            folders.add(connection.execute(sa.text("SELECT @@tmpdir")).scalar_one())
    assert len(folders) == len(NUMBERS)


def test_both_cinder_apis_answer(cloud: Cloud) -> None:
    for _ in range(4):
        cloud.admin.cinder("GET", "/volumes", expect=200)
    answered = {each: cloud.ports[each] for each in ("cinder-api-1", "cinder-api-2")}
    assert len({*answered.values(), cloud.ports["cinder"]}) == 3
    cloud.kill("cinder-api-1")
    wait_for("the proxy finds the other", lambda: cloud.admin.cinder("GET", "/volumes").status == 200, 30)
    cloud.start("cinder-api-1")


def test_the_doctor_names_the_cluster_and_the_wait(dedangle: Dedangle) -> None:
    checks = json.loads(dedangle("doctor", "-f", "json").out)
    of_cells = [each["sentence"] for each in checks if each["check"].startswith("database cell")]
    assert len(of_cells) == 2
    assert all("on a Galera node of MariaDB (Synced, 3 nodes)" in each for each in of_cells)
    assert all("wsrep_sync_wait=7" in each for each in of_cells)


def _mappings(cluster: Cluster, number: int, server: str) -> int:
    with cluster.engine(number).connect() as connection:
        connection.execute(sa.text("SET SESSION wsrep_sync_wait = 1"))
        query = "SELECT COUNT(*) FROM block_device_mapping WHERE deleted = 0 AND instance_uuid = :server"
        return int(connection.execute(sa.text(query), {"server": server}).scalar_one())
