# SPDX-License-Identifier: Apache-2.0
"""Several sweeps share a fleet whose hosts clean their own servers, and come to what one sweep alone comes to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from cases.stage import Stage
from dedangle.lab import rows
from dedangle.lab.builders import Server
from dedangle.lab.client import wait_for
from dedangle.lab.cloud import Cloud
from dedangle.lab.config import COMPUTE_HOST
from shell import Dedangle, finish, journal

pytestmark = pytest.mark.thorough

MORE_HOSTS = ("lab-compute-2", "lab-compute-3")
HOSTS = (COMPUTE_HOST, *MORE_HOSTS)
SHARDS = 3
SERVERS_EACH = 2
EXECUTE = ("sweep", "--execute", "--yes", "--max-removals", "100", "-f", "json")


@dataclass(frozen=True)
class Planted:
    """A running server with an attachment that was never used, and a mapping that was never attached."""

    server: Server
    attachment: str
    mapping: str


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, mariadb: None) -> Iterator[Cloud]:
    overrides = {"dedangle": {"cell_timeout": 20}}
    with Cloud(tmp_path_factory.mktemp("fleet"), database="mariadb", nova_overrides=overrides) as cloud:
        for host in MORE_HOSTS:
            cloud.add_host(host)
        # Another project's server, which the credentials must see.
        Stage(cloud, "p2").server(0)
        yield cloud


def plant(cloud: Cloud) -> dict[str, list[Planted]]:
    """The same on each host."""
    stage = Stage(cloud)
    found: dict[str, list[Planted]] = {}
    for host in HOSTS:
        for other in HOSTS:
            disabled = {"status": "enabled" if other == host else "disabled"}
            service = _service(cloud, other)
            cloud.admin.nova("PUT", f"/os-services/{service}", disabled, expect=200)
        for _ in range(SERVERS_EACH):
            server = stage.server(0)
            attachment = stage.breaks.reserve_attachment(server.id, stage.user.volume())
            mapping = stage.breaks.mapping_never_attached(server.id, stage.user.volume())
            assert rows.snapshot(cloud.home).servers[f"cell1/{server.id}"]["host"] == host
            found.setdefault(host, []).append(Planted(server, attachment, mapping))
    return found


def _service(cloud: Cloud, host: str) -> str:
    listed = cloud.admin.nova("GET", f"/os-services?host={host}&binary=nova-compute", expect=200)
    return str(listed.body["services"][0]["id"])


def live(cloud: Cloud, planted: dict[str, list[Planted]]) -> dict[str, list[tuple[list[bool], list[bool]]]]:
    """Of each server whether each of its mappings and attachments, in the order in which they were made, is live."""
    now = rows.snapshot(cloud.home)

    def of(server: str) -> tuple[list[bool], list[bool]]:
        mappings = [each for each in now.mappings.values() if each["instance_uuid"] == server]
        attachments = [each for each in now.attachments.values() if each["instance_uuid"] == server]
        mappings.sort(key=lambda each: str(each["id"]).zfill(9))
        attachments.sort(key=lambda each: str(each["attach_status"]))
        return [not each["deleted"] for each in mappings], [not each["deleted"] for each in attachments]

    return {host: [of(each.server.id) for each in servers] for host, servers in planted.items()}


def is_gone(cloud: Cloud, one: Planted) -> bool:
    return bool(rows.snapshot(cloud.home).attachments[one.attachment]["deleted"])


def cleaned_on(cloud: Cloud, host: str) -> set[str]:
    """The servers of which the host itself has removed something."""
    own = "dedangle" if host == COMPUTE_HOST else f"{host}/dedangle"
    lines = journal(cloud.home.state / own)
    entered = {each["entry"]: each["server_id"] for each in lines if each["phase"] == "intent"}
    return {entered[each["entry"]] for each in lines if each["phase"] == "outcome" and each["outcome"] == "removed"}


def share(cloud: Cloud, *, killing: Sequence[Planted] = (), host: str = "") -> list[int]:
    """Sweep with as many processes as there are shards, and kill the host once something of its own is gone."""
    dedangle = Dedangle(cloud)
    with contextlib.ExitStack() as running:
        processes = [
            running.enter_context(dedangle.start(*EXECUTE, "--shard", f"{index}/{SHARDS}"))
            for index in range(1, SHARDS + 1)
        ]
        if killing:
            wait_for("the host's first removal", lambda: any(is_gone(cloud, each) for each in killing), seconds=180)
            cloud.kill(host)
        return [finish(each).code for each in processes]


def test_shards_and_hosts_together_do_what_one_process_does_alone(fleet: Cloud) -> None:
    alone = plant(fleet)
    done = Dedangle(fleet)(*EXECUTE)
    assert {(each["outcome"], each["outcome_detail"]) for each in done.findings} == {("removed", None)}
    expected = live(fleet, alone)

    together = plant(fleet)
    host, before = MORE_HOSTS[0], rows.snapshot(fleet.home)
    # Cinder's answers take a while, so that it is in the middle of a removal when it is killed.
    with fleet.faults.inject("cinder", method="DELETE", path=r"/v3/.*attachments/.+", after=5):
        codes = share(fleet, killing=together[host], host=host)
    # What the other hosts have is done, and what this one was asked for is owned up to.
    assert 5 in codes
    reached = live(fleet, together)
    assert {each: reached[each] for each in HOSTS if each != host} == {
        each: expected[each] for each in HOSTS if each != host
    }
    fleet.start(host)
    assert share(fleet) == [0] * SHARDS
    assert live(fleet, together) == expected
    for each in HOSTS:
        own = {planted.server.id for planted in together[each]}
        others = {planted.server.id for name in HOSTS if name != each for planted in together[name]}
        swept = cleaned_on(fleet, each)
        assert own <= swept
        if each != COMPUTE_HOST:
            assert not others & swept
    changed = rows.diff(before, rows.snapshot(fleet.home))
    planted = [one for servers in together.values() for one in servers]
    assert {each.key for each in changed if each.table == "attachments"} == {each.attachment for each in planted}
    assert {str((each.after or {})["uuid"]) for each in changed if each.table == "mappings"} == {
        each.mapping for each in planted
    }
    after = rows.snapshot(fleet.home)
    assert share(fleet) == [0] * SHARDS
    assert rows.diff(after, rows.snapshot(fleet.home)) == []
