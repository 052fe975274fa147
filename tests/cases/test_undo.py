# SPDX-License-Identifier: Apache-2.0
"""A mapping that was removed by mistake comes back whole, and only while nothing has taken its place."""

import itertools
import json
import shlex
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa

from cases.stage import Stage
from dedangle.lab import rows
from dedangle.lab.__main__ import write_use
from dedangle.lab.builders import Server
from dedangle.lab.client import wait_for
from dedangle.lab.cloud import Cloud
from dedangle.lab.config import COMPUTE_HOST
from shell import Dedangle, Done

# The lab's services have two cores between them: more builders only wait for each other.
BUILDERS = 4
SECRET = "iqn.2026-11.org.example:nobody-shall-see"


class Removed(NamedTuple):
    """A volume whose mapping dedangle removed, and the entry of its journal that says so."""

    server: Server
    volume: str
    entry: str


@pytest.fixture
def stage(cloud: Cloud) -> Stage:
    return Stage(cloud)


@pytest.fixture(scope="session")
def connector(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with what nova-manage volume_attachment get_connector says of the lab's host."""
    return connector_of(COMPUTE_HOST, tmp_path_factory.mktemp("connector"))


def connector_of(host: str, directory: Path) -> str:
    path = directory / "connector.json"
    path.write_text(json.dumps({"host": host, "ip": "127.0.0.1", "initiator": SECRET}))
    return str(path)


def journal(dedangle: Dedangle) -> list[dict[str, Any]]:
    done = dedangle("journal", "list", "-f", "json")
    assert (done.code, done.err) == (0, "")
    listed: list[dict[str, Any]] = json.loads(done.out)
    return listed


@pytest.fixture(scope="module")
def removals(cloud: Cloud, dedangle: Dedangle) -> Iterator[Removed]:
    """Disks of stopped servers that lost their attachments, and by the command their mappings; as many as needed."""

    def broken(stage: Stage) -> Server:
        server = stage.server()
        stage.breaks.lose_attachment(server.id, server.volumes[1])
        stage.user.stop(server.id)
        return server

    def batch() -> list[Removed]:
        with ThreadPoolExecutor(BUILDERS) as pool:
            servers = list(pool.map(broken, [Stage(cloud) for _ in range(2 * BUILDERS)]))
        ids = [each.id for each in servers]
        done = dedangle("cleanup", *ids, "--no-host", "--execute", "--yes", "--max-removals", "1000", "-f", "json")
        assert [each["outcome"] for each in done.findings] == ["removed"] * len(servers), done.err
        entries = {each["volume_id"]: each["entry"] for each in journal(dedangle)}
        return [Removed(each, each.volumes[1], entries[each.volumes[1]]) for each in servers]

    return itertools.chain.from_iterable(batch() for _ in itertools.count())


@pytest.fixture
def removed(removals: Iterator[Removed]) -> Removed:
    return next(removals)


@pytest.fixture
def removed_by_reboot(stage: Stage, dedangle: Dedangle) -> Removed:
    server = stage.server()
    volume = server.volumes[1]
    stage.breaks.lose_attachment(server.id, volume)
    stage.user.reboot(server.id, "HARD")
    (entry,) = [each for each in journal(dedangle) if each["volume_id"] == volume and each["door"] == "reboot"]
    return Removed(server, volume, entry["entry"])


def live(stage: Stage, removed: Removed) -> list[rows.Row]:
    found = rows.snapshot(stage.cloud.home).mappings_of(removed.server.id)
    return [each for each in found if each["volume_id"] == removed.volume]


def undo(dedangle: Dedangle, entry: str, *arguments: str) -> Done:
    return dedangle("undo", entry, "--execute", "--yes", "-f", "json", *arguments)


def assert_whole(stage: Stage, dedangle: Dedangle, server: Server) -> None:
    """Nova and Cinder agree on every disk of the server, and nothing is found about it."""
    now = rows.snapshot(stage.cloud.home)
    mappings, attachments = now.mappings_of(server.id), now.attachments_of(server.id)
    assert {each["attachment_id"] for each in mappings} == {each["id"] for each in attachments}
    assert {each["volume_id"] for each in mappings} == set(server.volumes)
    assert {each["attach_status"] for each in attachments} == {"attached"}
    assert {now.volumes[each]["status"] for each in server.volumes} == {"in-use"}
    assert dedangle("audit", "--server", server.id, "--all", "-f", "json").findings == []


def test_on_a_terminal_the_plan_ends_with_what_to_type(stage: Stage, removed: Removed, connector: str) -> None:
    typed = f". {write_use(stage.cloud)}; dedangle undo {removed.entry} --connector {connector}"
    terminal = ["script", "--quiet", "--return", "--command", f"bash -c {shlex.quote(typed)}", "/dev/null"]
    shown = subprocess.run(terminal, capture_output=True, text=True, check=True).stdout
    assert shown.rstrip().endswith("Nothing was changed. Run again with --execute."), shown


@pytest.mark.parametrize("door", ["removed", pytest.param("removed_by_reboot", marks=pytest.mark.thorough)])
def test_mapping_comes_back_and_the_server_hard_reboots_with_its_disk(
    request: pytest.FixtureRequest, stage: Stage, dedangle: Dedangle, connector: str, door: str
) -> None:
    removed: Removed = request.getfixturevalue(door)
    before = rows.snapshot(stage.cloud.home)
    plan = dedangle("undo", removed.entry, "--connector", connector, "-f", "json")
    assert plan.code == 0
    assert "Nothing was changed. Run again with --execute." in plan.err
    assert "a new attachment, which is created first and connected through host" in json.loads(plan.out)["plan"]
    assert not rows.diff(before, rows.snapshot(stage.cloud.home))

    done = undo(dedangle, removed.entry, "--connector", connector)
    assert (done.code, json.loads(done.out)["outcome"]) == (0, "restored"), done.err
    once = rows.snapshot(stage.cloud.home)
    changes = {each.table: each for each in rows.diff(before, once)}
    assert set(changes) == {"mappings", "volumes", "attachments"}
    assert len(rows.diff(before, once)) == 3
    assert set(changes["mappings"].columns) == {"attachment_id", "deleted", "has_deleted_at"}
    (row,) = live(stage, removed)
    assert changes["attachments"].before is None
    assert changes["attachments"].key == row["attachment_id"]
    assert_whole(stage, dedangle, removed.server)

    stage.user.reboot(removed.server.id, "HARD")
    assert_whole(stage, dedangle, removed.server)
    assert live(stage, removed)[0]["has_connection_info"]
    # A start takes the connection from Nova's row as it is.
    stage.user.stop(removed.server.id)
    stage.user.start(removed.server.id)
    assert_whole(stage, dedangle, removed.server)

    first, entry = (each for each in journal(dedangle) if removed.entry in (each["entry"], each["undoes"]))
    assert (entry["undoes"], entry["remedy"], entry["outcome"]) == (removed.entry, "restore-mapping", "restored")
    assert first["undone_by"] == entry["entry"]
    listed = dedangle("journal", "list").out
    assert f"undoes {removed.entry}" in listed
    assert f"undone by {entry['entry']}" in listed
    assert str(row["attachment_id"]) in entry["detail"]
    kept = (stage.cloud.home.state / "dedangle" / "journal.jsonl").read_text()
    assert not [each for each in (SECRET, "driver_volume_type") if each in kept + done.out + done.err]


def test_nova_gets_the_connection_as_it_writes_it_itself(
    stage: Stage, dedangle: Dedangle, connector: str, removed: Removed
) -> None:
    assert undo(dedangle, removed.entry, "--connector", connector).code == 0

    names = ("instance_uuid", "deleted", "volume_id", "connection_info")
    table = sa.table("block_device_mapping", *map(sa.column, names))
    ours = sa.select(table.c.volume_id, table.c.connection_info).where(
        table.c.instance_uuid == removed.server.id, table.c.deleted == 0
    )
    with stage.cloud.home.connect("nova_cell1") as nova:
        infos = {row.volume_id: json.loads(row.connection_info) for row in nova.execute(ours)}
    root, restored = (infos[each] for each in removed.server.volumes)
    assert set(restored) == set(root)
    assert restored["serial"] == removed.volume
    assert set(restored["data"]) == set(root["data"])


def test_shelved_server_unshelves_with_its_disk(stage: Stage, dedangle: Dedangle) -> None:
    server = stage.server()
    volume = server.volumes[1]
    stage.user.shelve_offload(server.id)
    stage.breaks.lose_attachment(server.id, volume)
    dedangle("cleanup", server.id, "--execute", "--yes")
    (entry,) = [each["entry"] for each in journal(dedangle) if each["volume_id"] == volume]
    done = undo(dedangle, entry)
    assert json.loads(done.out)["outcome"] == "restored", done.err
    assert f"openstack server unshelve {server.id}" in done.out
    stage.user.unshelve(server.id)
    assert_whole(stage, dedangle, server)


def taken(stage: Stage, removed: Removed) -> None:
    stage.user.attach(stage.server(0).id, removed.volume)


def attached_anew(stage: Stage, removed: Removed) -> None:
    stage.user.attach(removed.server.id, removed.volume)


def reserved_by_somebody(stage: Stage, removed: Removed) -> None:
    stage.breaks.reserve_attachment(removed.server.id, removed.volume)


def held_by_glance(stage: Stage, removed: Removed) -> None:
    stage.breaks.glance_like_attachment(removed.volume)


def place_taken(stage: Stage, removed: Removed) -> None:
    stage.user.attach(removed.server.id, stage.user.volume())


def volume_deleted(stage: Stage, removed: Removed) -> None:
    stage.user.delete_volume(removed.volume)


def volume_in_error(stage: Stage, removed: Removed) -> None:
    stage.edit_volume(removed.volume, status="error")


def volume_transferred(stage: Stage, removed: Removed) -> None:
    stage.edit_volume(removed.volume, project_id="another")


def server_deleted(stage: Stage, removed: Removed) -> None:
    stage.user.delete(removed.server.id)


def server_busy(stage: Stage, removed: Removed) -> None:
    stage.edit_server(removed.server, task_state="rebuilding")


def server_rescued(stage: Stage, removed: Removed) -> None:
    stage.edit_server(removed.server, vm_state="rescued")


def host_down(stage: Stage, removed: Removed) -> None:
    stage.edit_server(removed.server, host=stage.dead_host())


def server_moved(stage: Stage, removed: Removed) -> None:
    stage.edit_server(removed.server, host="another")


def row_purged(stage: Stage, removed: Removed) -> None:
    table = sa.table("block_device_mapping", sa.column("volume_id"))
    with stage.cloud.home.connect("nova_cell1") as nova:
        assert nova.execute(sa.delete(table).where(table.c.volume_id == removed.volume)).rowcount == 1


def row_changed(stage: Stage, removed: Removed) -> None:
    where: dict[str, object] = {"volume_id": removed.volume}
    stage.edit("nova_cell1", "block_device_mapping", where, updated_at="2026-11-20 00:00:00.000000")


def row_revived(stage: Stage, removed: Removed) -> None:
    stage.edit("nova_cell1", "block_device_mapping", {"volume_id": removed.volume}, deleted=0, deleted_at=None)


@pytest.mark.parametrize(
    ("since", "reason"),
    [
        (taken, "now has a mapping of the volume"),
        (attached_anew, "the server has the volume again, through mapping"),
        (reserved_by_somebody, "but no undo created it"),
        (held_by_glance, "of the volume now belongs to no server"),
        (place_taken, "as /dev/sdb"),
        (volume_deleted, "Cinder no longer has volume"),
        pytest.param(volume_in_error, "the volume is error", marks=pytest.mark.thorough),
        pytest.param(volume_transferred, "the volume now belongs to project another", marks=pytest.mark.thorough),
        (server_deleted, "is deleted"),
        pytest.param(server_busy, "the server is busy: task_state rebuilding", marks=pytest.mark.thorough),
        pytest.param(server_rescued, "the server is rescued", marks=pytest.mark.thorough),
        pytest.param(host_down, "the server is busy: host has been down since", marks=pytest.mark.thorough),
        pytest.param(server_moved, "the connector is that of host", marks=pytest.mark.thorough),
        (row_purged, "Nova has archived or purged the mapping's row"),
        (row_changed, "the mapping's row has changed since it was removed"),
        (row_revived, "the mapping is live, so it was restored already"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_refused_with_its_reason_and_nothing_changed(
    stage: Stage,
    dedangle: Dedangle,
    connector: str,
    removed: Removed,
    since: Callable[[Stage, Removed], None],
    reason: str,
) -> None:
    since(stage, removed)
    journal_file = stage.cloud.home.state / "dedangle" / "journal.jsonl"
    before, entries = rows.snapshot(stage.cloud.home), journal_file.read_bytes()
    done = undo(dedangle, removed.entry, "--connector", connector)
    assert done.code == 5
    assert done.err.startswith(f"Entry {removed.entry} cannot be undone: ")
    assert reason in done.err
    assert len(done.err.splitlines()) == 1
    assert done.out == ""
    assert not rows.diff(before, rows.snapshot(stage.cloud.home))
    assert journal_file.read_bytes() == entries


def test_refused_without_the_connector_of_the_host(
    stage: Stage, dedangle: Dedangle, connector: str, removed: Removed, tmp_path: Path
) -> None:
    done = undo(dedangle, removed.entry)
    assert done.code == 5
    assert "Run there: nova-manage volume_attachment get_connector --json > connector.json" in done.err
    done = undo(dedangle, removed.entry, "--connector", connector_of("another", tmp_path))
    assert done.code == 5
    assert "the connector is that of host another" in done.err
    for text in ("", "7", '{"ip": "127.0.0.1"}'):
        (tmp_path / "connector.json").write_text(text)
        done = undo(dedangle, removed.entry, "--connector", str(tmp_path / "connector.json"))
        assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert undo(dedangle, removed.entry, "--connector", connector).code == 0
    again = undo(dedangle, removed.entry, "--connector", connector)
    assert again.code == 5
    assert "it was restored already" in again.err


def test_entries_that_can_never_be_undone(stage: Stage, dedangle: Dedangle, connector: str) -> None:
    server = stage.server(0)
    volume = stage.user.volume()
    stage.breaks.reserve_attachment(server.id, volume)
    dedangle("cleanup", server.id, "--execute", "--yes")
    (removed,) = [each["entry"] for each in journal(dedangle) if each["volume_id"] == volume]
    before = rows.snapshot(stage.cloud.home)
    for entry, reason in (
        (removed, "Cinder cannot restore it with its id"),
        ("nonsense", "The journal has no entry nonsense."),
    ):
        done = undo(dedangle, entry, "--connector", connector)
        assert (done.code, len(done.err.splitlines())) == (2, 1)
        assert reason in done.err
    assert not rows.diff(before, rows.snapshot(stage.cloud.home))


ATTACHMENTS = r"/v3/.*attachments"
# Each write, and what Cinder then has; the second one leaves most to be done or taken back.
WRITES = [
    pytest.param(
        {"method": "POST", "path": ATTACHMENTS},
        ("reserved", 0),
        marks=pytest.mark.thorough,
        id="the attachment is made",
    ),
    pytest.param({"method": "PUT", "path": f"{ATTACHMENTS}/.+"}, ("attaching", 1), id="it is connected"),
    pytest.param(
        {"method": "POST", "path": f"{ATTACHMENTS}/.+/action"},
        ("attached", 1),
        marks=pytest.mark.thorough,
        id="it is complete",
    ),
]


@pytest.mark.parametrize(("fault", "state"), WRITES)
def test_killed_after_each_write_to_cinder_and_undone_again(
    stage: Stage, dedangle: Dedangle, connector: str, removed: Removed, fault: dict[str, str], state: tuple[str, int]
) -> None:

    def states() -> list[tuple[object, object]]:
        found = rows.snapshot(stage.cloud.home).attachments_of(removed.server.id)
        return [
            (each["attach_status"], each["has_connection_info"])
            for each in found
            if each["volume_id"] == removed.volume
        ]

    arguments = ("undo", removed.entry, "--execute", "--yes", "--connector", connector)
    with (
        stage.cloud.faults.inject("cinder", after=5, user_agent="dedangle", **fault),
        dedangle.start(*arguments) as process,
    ):
        wait_for(f"the attachment {state}", lambda: states() == [state])
        assert process.poll() is None
        process.kill()
    assert live(stage, removed) == []
    assert journal(dedangle)[-1]["outcome"] == "unfinished"
    done = undo(dedangle, removed.entry, "--connector", connector)
    assert json.loads(done.out)["outcome"] == "restored", done.err
    stage.user.reboot(removed.server.id, "HARD")
    assert_whole(stage, dedangle, removed.server)


@pytest.mark.parametrize(("fault", "state"), WRITES)
def test_what_cinder_refuses_is_taken_back(
    stage: Stage, dedangle: Dedangle, connector: str, removed: Removed, fault: dict[str, str], state: tuple[str, int]
) -> None:
    before = rows.snapshot(stage.cloud.home)
    with stage.cloud.faults.inject("cinder", status=500, user_agent="dedangle", **fault):
        done = undo(dedangle, removed.entry, "--connector", connector)
    assert (done.code, json.loads(done.out)["outcome"]) == (5, "failed")
    after = rows.snapshot(stage.cloud.home)
    assert [each for each in rows.diff(before, after) if not (each.after or {}).get("deleted")] == []
    assert undo(dedangle, removed.entry, "--connector", connector).code == 0


def test_server_that_is_taken_meanwhile_keeps_nothing_of_the_undo(
    stage: Stage, dedangle: Dedangle, connector: str, removed: Removed
) -> None:
    arguments = ("undo", removed.entry, "--execute", "--yes", "--connector", connector, "-f", "json")
    complete = {"method": "POST", "path": f"{ATTACHMENTS}/.+/action", "user_agent": "dedangle"}
    with stage.cloud.faults.inject("cinder", after=5, **complete), dedangle.start(*arguments) as process:
        wait_for(
            "the volume in use",
            lambda: rows.snapshot(stage.cloud.home).volumes[removed.volume]["status"] == "in-use",
        )
        stage.edit_server(removed.server, task_state="powering-on")
        before = rows.snapshot(stage.cloud.home)
        out, _ = process.communicate(timeout=60)
    assert (process.returncode, json.loads(out)["outcome"]) == (5, "changed-meanwhile")
    after = rows.snapshot(stage.cloud.home)
    assert {(each.table, (each.after or {})["id"]) for each in rows.diff(before, after)} == {
        ("volumes", removed.volume),
        ("attachments", before.attachments_of(removed.server.id)[-1]["id"]),
    }
    assert after.volumes[removed.volume]["status"] == "available"


def test_two_operators_undo_at_once_and_the_mapping_comes_back_once(
    stage: Stage, dedangle: Dedangle, connector: str, removed: Removed
) -> None:
    arguments = ("undo", removed.entry, "--execute", "--yes", "--connector", connector)
    both = [dedangle.start(*arguments) for _ in range(2)]
    for process in both:
        _, err = process.communicate(timeout=120)
        assert "Traceback" not in err
    assert sorted(process.returncode for process in both) == [0, 5]
    assert_whole(stage, dedangle, removed.server)
