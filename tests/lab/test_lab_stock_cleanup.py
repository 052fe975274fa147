# SPDX-License-Identifier: Apache-2.0
"""What Nova's own clean-up does at a hard reboot: the facts of docs/comparison.md."""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from cases.stage import Planted, Stage, cases
from dedangle.lab import rows
from dedangle.lab.cloud import Cloud

pytestmark = pytest.mark.thorough


class Removed(NamedTuple):
    """How many live rows of the case's servers are gone."""

    mappings: int
    attachments: int


NOTHING = Removed(0, 0)
REMOVES = {
    "attach-half-made/attached": Removed(0, 1),
    "attachment-released-by-nova/tombstone": Removed(0, 1),
    "attachment-shares-host/same_server": Removed(0, 1),
    "consistent/running": NOTHING,
    "foreign/ironic": Removed(0, 1),
    "legacy/without_id": Removed(0, 1),
    "mapping-names-lost-attachment/migration": Removed(1, 1),
    "mapping-names-lost-attachment/swap": Removed(1, 1),
    "mapping-never-attached/active": NOTHING,
    "mapping-without-attachment/root": Removed(1, 0),
    "mapping-without-attachment/running": Removed(1, 0),
    "migration-half-done/both_sides": Removed(0, 1),
    "volume-in-use-elsewhere/other_server": Removed(1, 0),
}


def rebooted(cloud: Cloud, server: str) -> list[str]:
    return [event["result"] for event in Stage(cloud).user.reboot(server)["events"]]


def removed(before: rows.Snapshot, after: rows.Snapshot, servers: tuple[str, ...]) -> Removed:
    def live(found: rows.Snapshot) -> tuple[int, int]:
        return (
            sum(len(found.mappings_of(each)) for each in servers),
            sum(len(found.attachments_of(each)) for each in servers),
        )

    (mappings, attachments), (mappings_left, attachments_left) = live(before), live(after)
    return Removed(mappings - mappings_left, attachments - attachments_left)


@pytest.fixture(scope="module")
def seen(cloud: Cloud) -> dict[str, Removed]:
    """What the reboot of every server of each case removed."""
    chosen = [each for each in cases() if each.name in REMOVES]
    with ThreadPoolExecutor(4) as pool:
        planted: list[Planted] = list(pool.map(lambda case: case.build(Stage(cloud)), chosen))
        before = rows.snapshot(cloud.home)
        servers = [server for each in planted for server in each.servers]
        assert [each for each in pool.map(lambda server: rebooted(cloud, server), servers) if each != ["Success"]] == []
    after = rows.snapshot(cloud.home)
    return {case.name: removed(before, after, each.servers) for case, each in zip(chosen, planted, strict=True)}


@pytest.mark.parametrize("case", REMOVES)
def test_stock_reboot(seen: dict[str, Removed], case: str) -> None:
    assert seen[case] == REMOVES[case]


@pytest.mark.parametrize(
    ("fault", "result", "gone"),
    [({"proxy_404": True}, "Success", Removed(2, 2)), ({"status": 500}, "Error", NOTHING)],
    ids=["a proxy answers 404", "Cinder answers 500"],
)
def test_stock_reboot_of_a_healthy_server_that_cinder_does_not_show(
    cloud: Cloud, fault: dict[str, object], result: str, gone: Removed
) -> None:
    server = Stage(cloud).server()
    before = rows.snapshot(cloud.home)
    with cloud.faults.inject("cinder", method="GET", path="/v3/.*attachments/.*", **fault):
        assert rebooted(cloud, server.id) == [result]
    assert removed(before, rows.snapshot(cloud.home), (server.id,)) == gone
