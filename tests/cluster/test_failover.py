# SPDX-License-Identifier: Apache-2.0
"""Nodes, the proxy, the bus and services fail in the middle of a run: it ends, says so, and the next one finishes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cases.stage import Stage
from cluster.nodes import Cluster
from dedangle.lab import rows
from dedangle.lab.builders import Server
from dedangle.lab.client import wait_for
from dedangle.lab.cloud import Cloud
from shell import Dedangle, Done, finish, journal

EXECUTE = ("--execute", "--yes", "-f", "json")
# Above what a run needs that waits once for a failover and once for a database that does not come back.
PATIENCE = 240

Deed = Callable[[Cluster], None]


def kill(cluster: Cluster) -> None:
    cluster.kill(1)


def freeze(cluster: Cluster) -> None:
    cluster.freeze(1)


def move(cluster: Cluster) -> None:
    cluster.take_out(1)


def kill_two(cluster: Cluster) -> None:
    """Leave one node, which cannot tell this from being cut off and so answers nothing."""
    cluster.kill(2)
    cluster.kill(3)


def restart_rabbitmq(cluster: Cluster) -> None:
    cluster.cloud.restart("rabbitmq")


def kill_conductor(cluster: Cluster) -> None:
    cluster.cloud.kill("nova-conductor")
    cluster.cloud.start("nova-conductor")


def kill_cinder_api(cluster: Cluster) -> None:
    cluster.cloud.kill("cinder-api-1")


THOROUGH = pytest.mark.thorough
DEEDS = [kill, freeze, pytest.param(move, marks=THOROUGH), kill_two]
LESS = [kill, *(pytest.param(deed, marks=THOROUGH) for deed in (freeze, move, kill_two))]


def name(deed: object) -> str | None:
    return getattr(deed, "__name__", None)


def held(dedangle: Dedangle, at: Path, step: int, deed: Callable[[], None], *arguments: str) -> Done:
    """Run dedangle, and do the deed after its write of that number, 0 being before the first."""
    at.unlink(missing_ok=True)
    with dedangle.start_until(str(at), str(step), *arguments) as process:
        wait_for(f"write {step}", lambda: at.exists() or process.poll() is not None, PATIENCE)
        assert at.exists(), process.communicate()[1]
        deed()
        at.unlink()
        begun = time.monotonic()
        done = finish(process)
        assert time.monotonic() - begun < PATIENCE, done.err
        return done


def offloaded(stage: Stage) -> Server:
    """A server on no host, whose mapping the command itself removes from the database."""
    server = stage.server(1)
    stage.user.shelve_offload(server.id)
    stage.breaks.lose_attachment(server.id, server.volumes[1])
    return server


def stopped(stage: Stage) -> Server:
    """A stopped server with a mapping whose attachment Cinder has lost."""
    server = stage.server(1)
    stage.user.stop(server.id)
    stage.breaks.lose_attachment(server.id, server.volumes[1])
    return server


# Intent, instance action, soft-delete, outcome: before the first, after each.
@pytest.mark.parametrize("step", [2, *(pytest.param(each, marks=THOROUGH) for each in (0, 1, 3, 4))])
@pytest.mark.parametrize("deed", DEEDS, ids=name)
def test_cleanup_of_a_mapping(
    cloud: Cloud, cluster: Cluster, dedangle: Dedangle, tmp_path: Path, deed: Deed, step: int
) -> None:
    server = offloaded(Stage(cloud))
    before = rows.snapshot(cloud.home)
    done = held(dedangle, tmp_path / "held", step, lambda: deed(cluster), "cleanup", server.id, *EXECUTE)
    first = entries(cloud, server)
    cluster.make_whole()
    told(done, first)
    finished(cloud, dedangle, server, before, "cleanup", server.id)
    after = rows.snapshot(cloud.home)
    assert gone(before, after) == {("mappings", server.volumes[1])}
    assert_honest(cloud, server, gone_ids(before, after))


@pytest.mark.parametrize("deed", LESS, ids=name)
def test_undo(cloud: Cloud, cluster: Cluster, dedangle: Dedangle, tmp_path: Path, deed: Deed) -> None:
    server = offloaded(Stage(cloud))
    whole = rows.snapshot(cloud.home)
    assert dedangle("cleanup", server.id, *EXECUTE).code == 0
    (entry,) = [each["entry"] for each in entries(cloud, server)]
    # After the intent and the new attachment, before the mapping is restored.
    done = held(dedangle, tmp_path / "held", 2, lambda: deed(cluster), "undo", entry, *EXECUTE)
    cluster.make_whole()
    assert done.code in (0, 5), done.err
    again = dedangle("undo", entry, *EXECUTE)
    assert again.code == (5 if done.code == 0 else 0) or "is live" in again.err, (done, again)
    now = rows.snapshot(cloud.home)
    assert {row["volume_id"] for row in now.mappings_of(server.id)} == set(server.volumes)
    # One attachment for each volume: what the first run made is used or taken back.
    held_by = [row["volume_id"] for row in now.attachments_of(server.id)]
    assert sorted(map(str, held_by)) == sorted(server.volumes)
    assert {row["id"] for row in now.mappings_of(server.id)} == {row["id"] for row in whole.mappings_of(server.id)}


@pytest.mark.parametrize("step", [1, pytest.param(8, marks=THOROUGH)])
@pytest.mark.parametrize("deed", [*LESS, kill_cinder_api], ids=name)
def test_sweep(cloud: Cloud, cluster: Cluster, dedangle: Dedangle, tmp_path: Path, deed: Deed, step: int) -> None:
    stage = Stage(cloud)
    sound, busy, deleted = stage.server(1), stage.server(0), stage.server(1)
    planted = {stage.breaks.reserve_attachment(busy.id, stage.user.volume()) for _ in range(2)}
    stage.breaks.mapping_of_deleted_server(deleted.id)
    rows.settle(cloud.home)
    before = rows.snapshot(cloud.home)
    done = held(dedangle, tmp_path / "held", step, lambda: deed(cluster), "sweep", *EXECUTE)
    cluster.make_whole()
    assert done.code in (0, 5), done.err
    for server in (busy, deleted):
        for each in entries(cloud, server):
            assert each.get("outcome") in ("removed", "failed", "unknown", "changed-meanwhile"), each
    finished(cloud, dedangle, busy, before, "sweep")
    after = rows.snapshot(cloud.home)
    assert {key for _, key in gone(before, after, by="id")} >= planted
    assert after.mappings_of(deleted.id) == []
    assert after.mappings_of(sound.id) == before.mappings_of(sound.id)
    assert after.attachments_of(sound.id) == before.attachments_of(sound.id)


@pytest.mark.parametrize("deed", [kill, freeze, move, restart_rabbitmq, kill_conductor], ids=lambda deed: deed.__name__)
def test_cleanup_through_the_host(
    cloud: Cloud, cluster: Cluster, dedangle: Dedangle, tmp_path: Path, deed: Deed
) -> None:
    """The host claims the server, disconnects and removes through nova-conductor."""
    server = stopped(Stage(cloud))
    before = rows.snapshot(cloud.home)
    done = held(dedangle, tmp_path / "held", 2, lambda: deed(cluster), "cleanup", server.id, *EXECUTE)
    cluster.make_whole()
    assert done.code in (0, 5), done.err
    finished(cloud, dedangle, server, before, "cleanup", server.id)
    after = rows.snapshot(cloud.home)
    assert gone(before, after) == {("mappings", server.volumes[1])}
    (row,) = [each for each in after.servers.values() if each["uuid"] == server.id]
    assert (row["vm_state"], row["task_state"]) == ("stopped", None)


def test_cleanup_when_the_hosts_nova_compute_dies(
    cloud: Cloud, cluster: Cluster, dedangle: Dedangle, tmp_path: Path
) -> None:
    stage = Stage(cloud)
    server = stopped(stage)
    before = rows.snapshot(cloud.home)
    conf = tmp_path / "short.conf"
    conf.write_text("[dedangle]\ncell_timeout = 10\n")
    (row,) = [each for each in before.servers.values() if each["uuid"] == server.id]
    service = "nova-compute" if row["host"] == "lab-compute-1" else str(row["host"])
    options = ("cleanup", server.id, *EXECUTE, "--config-file", str(conf))
    done = held(dedangle, tmp_path / "held", 2, lambda: cloud.kill(service), *options)
    assert (done.code, [each["outcome"] for each in done.findings]) == (5, ["unknown"]), done.err
    cloud.start(service)
    # The lab's driver forgets its guests as it ends, so nothing proves that this one is off.
    kept = dedangle("cleanup", server.id, *EXECUTE)
    assert [each["outcome"] for each in kept.findings] == ["changed-meanwhile"], kept.err
    assert f"openstack server reboot --hard {server.id}" in kept.findings[0]["outcome_detail"]
    stage.user.reboot(server.id)
    finished(cloud, dedangle, server, before, "cleanup", server.id)
    assert gone(before, rows.snapshot(cloud.home)) == {("mappings", server.volumes[1])}


def test_an_attach_that_a_cinder_api_does_not_show_yet_is_kept(
    cloud: Cloud, cluster: Cluster, dedangle: Dedangle, tmp_path: Path
) -> None:
    """Cinder's APIs read from a node that is behind, and Nova is read from one that is not."""
    stage = Stage(cloud)
    server, volume = stage.server(1), stage.user.volume()
    conf = tmp_path / "fresh.conf"
    conf.write_text(cluster.past_the_proxy(1))
    with cluster.held_back(2):
        stage.user.attach(server.id, volume)
        for number in (1, 3):
            cluster.take_out(number)
        before = rows_on(cluster, 1, server)
        for verb in (("cleanup", server.id), ("sweep",)):
            done = dedangle(*verb, *EXECUTE, "--config-file", str(conf))
            assert [each for each in done.findings if each["outcome"]] == [], done.out
        shown = cloud.admin.cinder("GET", f"/attachments?all_tenants=1&instance_id={server.id}", expect=200).body
        assert len(shown["attachments"]) == 2, "the API was not behind"
    assert rows_on(cluster, 1, server) == before
    assert len(before) == 3


def rows_on(cluster: Cluster, number: int, server: Server) -> list[Any]:
    query = "SELECT id, volume_id, attachment_id FROM block_device_mapping WHERE deleted = 0 AND instance_uuid = %s"
    with cluster.engine(number).connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query, (server.id,))]


def told(done: Done, first: list[dict[str, Any]]) -> None:
    """The exit code, the message and the journal say the same of what happened."""
    assert done.code in (0, 5), done.err
    assert "Traceback" not in done.err
    outcomes = [each.get("outcome") for each in first]
    if done.code == 0:
        assert outcomes == ["removed"]
    else:
        assert done.err
        assert outcomes in ([], ["unknown"], ["failed"], ["removed"])


def finished(cloud: Cloud, dedangle: Dedangle, server: Server, before: rows.Snapshot, *verb: str) -> None:
    """The next run finishes, and the one after it finds nothing to do."""
    with cloud.home.connect("nova_cell1") as nova:
        # An action that stayed open keeps others off for ten minutes.
        nova.exec_driver_sql(
            "UPDATE instance_actions SET start_time = '2026-01-01' WHERE action = 'dedangle_cleanup' AND "
            "finish_time IS NULL"
        )
    again = dedangle(*verb, *EXECUTE)
    assert again.code == 0, again.err
    settled = rows.snapshot(cloud.home)
    quiet = dedangle(*verb, *EXECUTE)
    assert quiet.code == 0, quiet.err
    assert [each for each in quiet.findings if each["outcome"]] == []
    assert rows.diff(settled, rows.snapshot(cloud.home)) == []


def gone(before: rows.Snapshot, after: rows.Snapshot, by: str = "volume_id") -> set[tuple[str, str]]:
    """What was removed, by table and column."""
    changes = (each for each in rows.diff(before, after) if each.table in ("mappings", "attachments"))
    return {(each.table, str((each.before or {}).get(by))) for each in changes}


def gone_ids(before: rows.Snapshot, after: rows.Snapshot) -> set[str]:
    return {key for _, key in gone(before, after, by="id")}


def entries(cloud: Cloud, server: Server) -> list[dict[str, Any]]:
    """Every removal that was meant for the server, with its outcome."""
    lines = journal(cloud.home.state / "dedangle")
    outcomes: dict[str, list[dict[str, Any]]] = {}
    for each in lines:
        if each["phase"] == "outcome":
            outcomes.setdefault(each["entry"], []).append(each)
    assert all(len(each) == 1 for each in outcomes.values()), "an entry has one outcome"
    own = (each for each in lines if each["phase"] == "intent" and each["server_id"] == server.id)
    return [{**each, **outcomes.get(each["entry"], [{}])[0]} for each in own]


def assert_honest(cloud: Cloud, server: Server, removed: set[str]) -> None:
    """Removed is told once, of each row that is gone, unless one entry is unknown."""
    made = entries(cloud, server)
    done = [str(each["row"]["id"]) for each in made if each["outcome"] == "removed"]
    assert set(done) <= removed
    assert len(done) == len(set(done))
    unknown = {str(each["row"]["id"]) for each in made if each.get("outcome") in (None, "unknown")}
    assert removed <= set(done) | unknown
