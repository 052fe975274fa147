# SPDX-License-Identifier: Apache-2.0
"""What NovaDatabase reads of a server: times of its mappings, failed live migrations, whether its host is up."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from nova_cells_on_disk import NOW, Rows, cell, nova

from dedangle.core.records import HostState
from dedangle.systems.nova import schema
from dedangle.systems.nova.about import ComputeHost, compute_hosts

EARLY, LATE = datetime(2026, 11, 25, 11, 0), datetime(2026, 11, 25, 11, 59, 30)


@pytest.mark.parametrize("newest", ["created_at", "updated_at", "deleted_at"])
def test_a_mapping_changed_when_it_was_last_created_updated_or_deleted(tmp_path: Path, newest: str) -> None:
    one, rows = cell(tmp_path, "cell1")
    times = dict.fromkeys(("created_at", "updated_at", "deleted_at"), EARLY)
    rows.mapping(1, "s1", **{**times, newest: LATE})
    rows.mapping(2, "s1", **{newest: EARLY})
    rows.mapping(3, "s1")
    found = {each.id: each.changed_at for each in nova(one).observe("s1").mappings}
    assert found == {1: NOW - timedelta(seconds=30), 2: NOW - timedelta(hours=1), 3: None}


@pytest.mark.parametrize("name", ["web-1", "", None])
def test_a_server_has_the_name_that_its_tenant_gave_it(tmp_path: Path, name: str | None) -> None:
    one, rows = cell(tmp_path, "cell1")
    rows.server("s1", display_name=name)
    (server,) = nova(one).observe("s1").servers
    assert server.name == (name or None)
    assert server == dataclasses.replace(server, name="renamed")


def test_mappings_of_other_servers_are_read_live_and_soft_deleted(tmp_path: Path) -> None:
    one, rows = cell(tmp_path, "cell1")
    rows.mapping(1, "s1", volume_id="v")
    rows.mapping(2, "s2", volume_id="v")
    rows.mapping(3, "s3", volume_id="v", deleted=3)
    rows.mapping(4, "s4", volume_id="other")
    found = nova(one).other_servers_bdms(["v"], "s1")
    assert {(each.server_id, each.deleted) for each in found.rows} == {("s2", False), ("s3", True)}


def test_the_newest_live_migration_that_failed_is_told(tmp_path: Path) -> None:
    one, rows = cell(tmp_path, "cell1")
    for kind, status, created, updated, deleted in (
        ("live-migration", "failed", EARLY, None, 0),
        ("live-migration", "error", EARLY, EARLY + timedelta(minutes=5), 0),
        ("live-migration", "error", EARLY, EARLY + timedelta(minutes=9), 7),
        ("live-migration", "completed", EARLY, LATE, 0),
        ("migration", "error", EARLY, LATE, 0),
    ):
        row = {"migration_type": kind, "status": status, "created_at": created, "updated_at": updated}
        rows.add(schema.migrations, instance_uuid="s1", **{**row, "deleted": deleted})
    rows.add(
        schema.migrations, instance_uuid="s2", migration_type="live-migration", status="completed", created_at=LATE
    )
    database = nova(one)
    # A server that was deleted took its migrations along: that one failed too.
    assert database.observe("s1").live_migration_failed_at == NOW - timedelta(minutes=51)
    assert database.observe("s2").live_migration_failed_at is None


@pytest.mark.parametrize(
    ("seen", "forced_down", "state"),
    [
        (timedelta(0), False, HostState.UP),
        (timedelta(seconds=60), False, HostState.UP),
        (timedelta(seconds=61), False, HostState.DOWN),
        # Nova counts a heartbeat from the future like one of the past (nova/servicegroup/drivers/db.py:is_up).
        (timedelta(seconds=-61), False, HostState.DOWN),
        (timedelta(0), True, HostState.DOWN),
    ],
)
def test_a_host_is_up_for_every_reader_or_for_none(
    tmp_path: Path, seen: timedelta, forced_down: bool, state: HostState
) -> None:
    one, rows = cell(tmp_path, "cell1")
    rows.server("s1")
    _service(rows, seen, forced_down)
    assert nova(one).observe("s1").host_state is state
    hosts = one.ask(compute_hosts(NOW, timedelta(seconds=60)))()
    assert hosts.rows == ([ComputeHost("compute-1", state is HostState.UP)],)


def _service(rows: Rows, seen: timedelta, forced_down: bool) -> None:
    times = {"created_at": EARLY, "last_seen_up": NOW.replace(tzinfo=None) - seen}
    rows.add(schema.services, host="compute-1", binary="nova-compute", forced_down=forced_down, **times)


@pytest.mark.parametrize(
    ("rows_of_events", "open_events"),
    [
        ([("stop", 1, None)], ["stop"]),
        # A retry ended; a later action that Nova refuses while a task_state is set has begun.
        ([("stop", 1, None), ("stop", 1, 2)], []),
        ([("stop", 1, None), ("start", 3, 4)], []),
        ([("start", 0, 1), ("stop", 2, None)], ["stop"]),
        # These set no task_state, so they may go on whatever was started since.
        ([("attach_volume", 1, None), ("start", 3, 4)], ["attach_volume"]),
        ([("attach_volume", 1, None), ("reboot", 3, 4)], []),
        ([("attach_volume", 1, None), ("reboot", 3, None)], ["attach_volume", "reboot"]),
        ([("stop", 1, None), ("lock", 3, 4)], ["stop"]),
    ],
)
def test_an_event_that_has_no_end_may_have_ended_all_the_same(
    tmp_path: Path, rows_of_events: list[tuple[str, int, int | None]], open_events: list[str]
) -> None:
    one, rows = cell(tmp_path, "cell1")
    rows.server("s1")
    for number, name in enumerate(dict.fromkeys(name for name, _, _ in rows_of_events), 1):
        begun = min(start for each, start, _ in rows_of_events if each == name)
        times = {"start_time": EARLY + timedelta(minutes=begun)}
        rows.add(schema.instance_actions, id=number, instance_uuid="s1", action=name, request_id="req", **times)
        for _, start, end in (each for each in rows_of_events if each[0] == name):
            finish = None if end is None else EARLY + timedelta(minutes=end)
            times = {"start_time": EARLY + timedelta(minutes=start), "finish_time": finish}
            rows.add(schema.instance_actions_events, action_id=number, event=f"compute_{name}", **times)
    found = [each.detail for each in nova(one).observe("s1").markers if each.kind == "event"]
    assert found == [f"compute_{name} of {name} (req) is not finished" for name in open_events]
