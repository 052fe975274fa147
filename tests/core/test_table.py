# SPDX-License-Identifier: Apache-2.0
"""How each row of the decision table is judged, and what a door needs before it removes anything."""

from __future__ import annotations

from typing import Any

import pytest
from table_dangling import DANGLING_ROWS
from table_rows import KEPT_ROWS, Row, world
from worlds import JUST_NOW, World, attachment, deleted, findings, mapping, policy, server, stopped, volume

from dedangle.core.decisions import Door
from dedangle.core.records import HostState, Server

TABLE = (*DANGLING_ROWS, *KEPT_ROWS)
POLICIES = (policy(Door.REBOOT), policy(Door.COMMAND, no_host=True), policy(Door.SWEEP))


def check(expected: str, one: World, **how: Any) -> None:
    (finding,) = findings(one, **how)
    assert expected == finding.disposition


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.id)
def test_a_row_of_the_table_gets_its_code_verdict_and_disposition_per_door(row: Row) -> None:
    by_door = [findings(row.world, policy=each) for each in POLICIES]
    judged = {
        each.bdm_uuid or each.attachment_id: (each.code, each.verdict.value, dispositions)
        for each, dispositions in (
            (trio[0], " ".join(each.disposition.value for each in trio)) for trio in zip(*by_door, strict=True)
        )
    }
    assert row.expected == judged


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.id)
def test_a_row_of_the_table_is_explained_with_its_evidence_and_without_an_open_placeholder(row: Row) -> None:
    for door in Door:
        for finding in findings(row.world, door=door):
            assert finding.reason
            assert finding.evidence
            assert "{" not in finding.reason


@pytest.mark.parametrize("code", ["mapping-without-attachment", "mapping-of-missing-volume"])
def test_a_stopped_server_keeps_its_connected_mapping_without_no_host(code: str) -> None:
    volumes = (volume("available"),) if code == "mapping-without-attachment" else ()
    (finding,) = findings(world(servers=(stopped(),), mappings=(mapping("A"),), volumes=volumes), door=Door.COMMAND)
    assert (code, "report") == (finding.code, finding.disposition)
    assert "--no-host" in finding.reason


def test_a_stopped_server_on_a_host_that_is_down_is_cleaned_with_no_host_only() -> None:
    down = world(servers=(stopped(),), mappings=(mapping("A"),), status="available", host_state=HostState.DOWN)
    check("wait", down, policy=policy(Door.COMMAND))
    check("remove", down, policy=policy(Door.COMMAND, no_host=True))


@pytest.mark.parametrize(("allow_root", "expected"), [(False, "protect"), (True, "remove")])
def test_the_root_disk_of_a_stopped_server_needs_allow_root(allow_root: bool, expected: str) -> None:
    row = world(servers=(stopped(),), mappings=(mapping("A", boot_index=0),), status="available")
    for_command = policy(Door.COMMAND, no_host=True, allow_root=allow_root)
    check(expected, row, policy=for_command)


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (server(), "protect"),
        (server("paused"), "protect"),
        (server("rescued"), "protect"),
        (stopped(task_state="powering-on"), "wait"),
    ],
)
def test_the_root_disk_of_a_server_that_is_not_stopped_is_kept_whatever_is_allowed(one: Server, expected: str) -> None:
    row = world(servers=(one,), mappings=(mapping("A", boot_index=0),), status="available")
    everything = policy(Door.COMMAND, no_host=True, allow_root=True)
    check(expected, row, policy=everything)


def test_a_reboot_without_power_over_the_guest_leaves_a_connected_mapping() -> None:
    row = world(mappings=(mapping("A"),), status="available")
    check("report", row, policy=policy(Door.REBOOT, guest_off=False))


@pytest.mark.parametrize(
    "waiting",
    [
        {"first_seen": lambda _: None},
        {"first_seen": lambda _: JUST_NOW},
        {"world": {"last_action_at": JUST_NOW}},
        {"world": {"servers": (deleted(deleted_at=JUST_NOW),)}},
    ],
    ids=["never seen", "just seen", "just acted on", "just deleted"],
)
def test_the_sweep_waits_for_its_grace_period(waiting: dict[str, Any]) -> None:
    fresh = world(**{"servers": (deleted(),), "attachments": (attachment("B"),), **waiting.get("world", {})})
    seen = {"first_seen": waiting["first_seen"]} if "first_seen" in waiting else {}
    check("wait", fresh, **seen)
    check("remove", fresh, door=Door.COMMAND, **seen)
