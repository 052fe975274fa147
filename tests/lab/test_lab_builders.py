# SPDX-License-Identifier: Apache-2.0
"""Every builder and breaker changes exactly the rows that it promises."""

import operator
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from dedangle.lab import rows
from dedangle.lab.breakers import Breaker
from dedangle.lab.builders import Builder, Server
from dedangle.lab.client import wait_for
from dedangle.lab.cloud import Cloud
from dedangle.lab.config import COMPUTE_HOST

# Whoever builds or breaks something in a test would notice a builder that does something else.
pytestmark = pytest.mark.thorough

Changes = Callable[[], list[rows.Change]]
Summary = list[tuple[str, dict[str, tuple[object, object]]]]

GONE_ATTACHMENT = ("attachments", {"attach_status": ("attached", "detached"), "deleted": (0, 1)})
FREED_VOLUME = ("volumes", {"status": ("in-use", "available"), "attach_status": ("attached", "detached")})


@pytest.fixture(scope="module")
def server(cloud: Cloud) -> Server:
    return Builder(cloud).server("sound", volumes=1)


@pytest.fixture
def doomed(builder: Builder) -> Server:
    return builder.server("doomed", volumes=1)


def changed(changes: list[rows.Change]) -> Summary:
    return [(change.table, change.columns) for change in changes]


def besides_numbers(changes: list[rows.Change]) -> list[rows.Change]:
    """Leave out the mappings that were set apart, after asserting that nothing but their numbers differs."""
    mappings = [change for change in changes if change.table == "mappings"]
    before = [dict(each.before) for each in mappings if each.before]
    after = [dict(each.after) for each in mappings if each.after]
    assert before
    assert {each.pop("id") for each in before}.isdisjoint({each.pop("id") for each in after})
    by_volume = operator.itemgetter("volume_id")
    assert sorted(before, key=by_volume) == sorted(after, key=by_volume)
    return [change for change in changes if change.table != "mappings"]


def added(changes: list[rows.Change]) -> list[tuple[str, rows.Row]]:
    assert all(change.before is None for change in changes)
    return [(change.table, change.after or {}) for change in changes]


def soft_deleted(mapping: rows.Row) -> tuple[str, dict[str, tuple[object, object]]]:
    return "mappings", {"deleted": (0, mapping["id"]), "has_deleted_at": (0, 1)}


def test_a_server_has_a_mapping_and_an_attachment_for_each_volume(builder: Builder, changes: Changes) -> None:
    made = builder.server("new", volumes=2)

    assert [table for table, _ in added(changes())] == ["servers"] + 3 * ["mappings"] + 3 * ["volumes"] + 3 * [
        "attachments"
    ]
    now = rows.snapshot(builder.cloud.home)
    attachments = {row["id"]: row for row in now.attachments_of(made.id)}
    assert [row["volume_id"] for row in now.mappings_of(made.id)] == list(made.volumes)
    assert [row["boot_index"] for row in now.mappings_of(made.id)] == [0, None, None]
    for mapping in now.mappings_of(made.id):
        attachment = attachments[mapping["attachment_id"]]
        assert attachment["volume_id"] == mapping["volume_id"]
        assert (attachment["attach_status"], attachment["attached_host"]) == ("attached", COMPUTE_HOST)


@pytest.mark.parametrize("kind", ["HARD", "SOFT"])
def test_a_reboot_changes_nothing_and_returns_its_action(
    builder: Builder, changes: Changes, server: Server, kind: str
) -> None:
    action = builder.reboot(server.id, kind)  # type: ignore[arg-type]

    assert changes() == []
    assert action["action"] == "reboot"
    assert [(event["event"], event["result"]) for event in action["events"]] == [("compute_reboot_instance", "Success")]


def test_stop_and_start(builder: Builder, changes: Changes, server: Server) -> None:
    builder.stop(server.id)
    assert changed(changes()) == [("servers", {"vm_state": ("active", "stopped"), "power_state": (1, 4)})]
    builder.start(server.id)
    assert changed(changes()) == [("servers", {"vm_state": ("stopped", "active"), "power_state": (4, 1)})]


def test_resize_and_confirm(builder: Builder, changes: Changes, server: Server) -> None:
    builder.resize(server.id)
    moved = changes()
    assert [change.table for change in moved] == ["servers", "mappings", "mappings"] + 4 * ["attachments"]
    assert [set(change.columns) for change in moved if change.table == "mappings"] == 2 * [{"attachment_id"}]
    assert changed(moved).count(GONE_ATTACHMENT) == 2
    builder.confirm(server.id)
    assert changed(changes()) == [("servers", {"vm_state": ("resized", "active")})]


def test_shelve_offload_and_unshelve(builder: Builder, changes: Changes, server: Server) -> None:
    builder.shelve_offload(server.id)
    changes()
    now = rows.snapshot(builder.cloud.home)
    assert now.servers[f"cell1/{server.id}"]["host"] is None
    assert {row["attach_status"] for row in now.attachments_of(server.id)} == {"reserved"}
    builder.unshelve(server.id)
    now = rows.snapshot(builder.cloud.home)
    assert {row["attach_status"] for row in now.attachments_of(server.id)} == {"attached"}


def test_detach(builder: Builder, changes: Changes, doomed: Server) -> None:
    mapping = rows.snapshot(builder.cloud.home).mappings_of(doomed.id)[1]
    changes()

    builder.detach(doomed.id, doomed.volumes[1])

    assert changed(changes()) == [soft_deleted(mapping), FREED_VOLUME, GONE_ATTACHMENT]


def test_lose_attachment(breaker: Breaker, changes: Changes, doomed: Server) -> None:
    changes()
    lost = breaker.lose_attachment(doomed.id, doomed.volumes[1])
    changes_now = besides_numbers(changes())
    assert changed(changes_now) == [FREED_VOLUME, GONE_ATTACHMENT]
    assert [doomed.volumes[1], lost] == [change.key for change in changes_now]


def test_reset_status(breaker: Breaker, changes: Changes, doomed: Server) -> None:
    changes()
    breaker.reset_status(doomed.volumes[1])
    assert changed(besides_numbers(changes())) == [FREED_VOLUME, GONE_ATTACHMENT]


def test_delete_volume_behind(breaker: Breaker, changes: Changes, doomed: Server) -> None:
    changes()
    breaker.delete_volume_behind(doomed.volumes[1])
    volume = {"status": ("in-use", "deleted"), "attach_status": ("attached", "detached"), "deleted": (0, 1)}
    assert changed(besides_numbers(changes())) == [("volumes", volume), GONE_ATTACHMENT]


def test_reserve_attachment(builder: Builder, breaker: Breaker, changes: Changes, server: Server) -> None:
    volume = builder.volume()
    changes()

    reserved = breaker.reserve_attachment(server.id, volume)

    now = changes()
    assert changed(now[:1]) == [("volumes", {"status": ("available", "reserved")})]
    [(table, row)] = added(now[1:])
    expected = {"id": reserved, "volume_id": volume, "instance_uuid": server.id, "attach_status": "reserved"}
    assert table == "attachments"
    assert expected.items() <= row.items()
    assert (row["attached_host"], row["has_connection_info"]) == (None, 0)


def test_attach_unknown(builder: Builder, breaker: Breaker, changes: Changes, server: Server) -> None:
    volume = builder.volume()
    changes()

    breaker.attach_unknown(server.id, volume, "elsewhere")

    now = changes()
    assert [change.table for change in now] == ["volumes", "attachments"]
    [(_, row)] = added(now[1:])
    assert (row["attach_status"], row["attached_host"], row["has_connection_info"]) == ("attached", "elsewhere", 1)


def test_glance_like_attachment(builder: Builder, breaker: Breaker, changes: Changes) -> None:
    volume = builder.volume()
    changes()

    breaker.glance_like_attachment(volume)

    now = changes()
    assert [change.table for change in now] == ["volumes", "attachments"]
    [(_, row)] = added(now[1:])
    assert (row["instance_uuid"], row["attach_status"], row["mountpoint"]) == (None, "attached", "glance_store")


def test_delete_server_while_cinder_fails(builder: Builder, breaker: Breaker, changes: Changes, doomed: Server) -> None:
    mappings = rows.snapshot(builder.cloud.home).mappings_of(doomed.id)
    changes()

    breaker.delete_server_while_cinder_fails(doomed.id)

    server, *rest = changes()
    assert server.columns["vm_state"] == ("active", "deleted")
    assert changed(rest) == [soft_deleted(mapping) for mapping in mappings]


def test_mapping_never_attached_looks_like_novas_own(cloud: Cloud, builder: Builder, breaker: Breaker) -> None:
    server = builder.server("half", volumes=0)
    ours = breaker.mapping_never_attached(server.id, builder.volume())
    reserved = builder.volume()

    with cloud.faults.inject("cinder", method="POST", path="/v3/.*attachments", delay=3):
        body = {"volumeAttachment": {"volumeId": reserved}}
        with ThreadPoolExecutor() as attaching:
            attaching.submit(builder.user.nova, "POST", f"/servers/{server.id}/os-volume_attachments", body)
            wait_for("Nova's mapping", lambda: columns(cloud, "volume_id", reserved))
            novas = columns(cloud, "volume_id", reserved)

    differing = {name for name, value in columns(cloud, "uuid", ours).items() if novas[name] != value}
    assert differing == {"id", "uuid", "volume_id", "device_name", "created_at", "updated_at"}


def columns(cloud: Cloud, name: str, value: str) -> rows.Row:
    """Every column of one mapping, those too that a snapshot leaves out."""
    with cloud.home.connect("nova_cell1") as nova:
        query = sa.text(f"SELECT * FROM block_device_mapping WHERE {name} = :value")
        row = nova.execute(query, {"value": value}).mappings().first()
        return dict(row or {})


def test_mapping_of_deleted_server(breaker: Breaker, changes: Changes, doomed: Server) -> None:
    changes()
    breaker.mapping_of_deleted_server(doomed.id)
    server, *rest = changes()
    assert server.columns["vm_state"] == ("active", "deleted")
    assert changed(rest) == 2 * [FREED_VOLUME] + 2 * [GONE_ATTACHMENT]


def test_nothing_done_is_nothing_changed(cloud: Cloud) -> None:
    before = rows.snapshot(cloud.home)
    assert before.mappings
    assert rows.snapshot(cloud.home) == before
