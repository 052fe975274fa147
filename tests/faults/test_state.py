# SPDX-License-Identifier: Apache-2.0
"""Without a writable journal nothing is changed; with a damaged journal all verbs still work."""

import json
import os
from pathlib import Path

import pytest
from filesystems import file_system

from dedangle.lab import rows
from dedangle.lab.breakers import Breaker
from dedangle.lab.builders import Builder, Server
from dedangle.lab.cloud import Cloud
from dedangle.state.journal import NAME
from shell import Dedangle, Done

PAGE = os.sysconf("SC_PAGESIZE")


@pytest.fixture
def broken(cloud: Cloud) -> Server:
    builder = Builder(cloud, "p1")
    server = builder.server("broken", 1)
    Breaker(builder).lose_attachment(server.id, server.volumes[1])
    builder.stop(server.id)
    return server


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    path = tmp_path / "state"
    path.mkdir()
    return path


@pytest.fixture
def elsewhere(tmp_path: Path, state_dir: Path) -> tuple[str, str]:
    """Options that move state_dir away from that of the other tests."""
    # A directory is read after every file.
    path = tmp_path / "conf.d"
    path.mkdir()
    (path / "elsewhere.conf").write_text(f"[dedangle]\nstate_dir = {state_dir}\n")
    return "--config-dir", str(path)


def cleanup(dedangle: Dedangle, server: Server, options: tuple[str, str]) -> Done:
    return dedangle("cleanup", server.id, "--no-host", "--execute", "--yes", "-f", "json", *options)


def assert_refused(done: Done, path: Path, why: str) -> None:
    assert done.code == 2
    assert f"The journal {path} cannot be written: {why}. Nothing was changed without it." in done.err.splitlines()
    assert "Traceback" not in done.err


def assert_removed(done: Done) -> None:
    assert [each["outcome"] for each in done.findings] == ["removed"], done.err


def test_disk_that_is_full_in_the_middle_of_a_line(
    cloud: Cloud, dedangle: Dedangle, broken: Server, state_dir: Path, elsewhere: tuple[str, str]
) -> None:
    before = rows.snapshot(cloud.home)
    with file_system(state_dir, f"size={8 * PAGE}"):
        path = state_dir / NAME
        first = json.dumps({"at": "2026-11-22T21:30:00+00:00", "phase": "begin", "server_id": ""})
        path.write_text(first.replace('""', f'"{"x" * (PAGE - 100 - len(first) - 1)}"') + "\n")
        assert path.stat().st_size == PAGE - 100
        ballast = state_dir / "ballast"
        with ballast.open("wb", buffering=0) as handle:
            # More than there is room for: the rest is not written.
            assert 0 < handle.write(b"x" * (8 * PAGE)) < 8 * PAGE
        assert_refused(cleanup(dedangle, broken, elsewhere), path, "No space left on device")
        assert not rows.diff(before, rows.snapshot(cloud.home))
        assert path.stat().st_size == PAGE
        ballast.unlink()
        assert_removed(cleanup(dedangle, broken, elsewhere))
        listed = dedangle("journal", "list", "-f", "json", *elsewhere)
        assert (listed.code, listed.err) == (0, "")
        assert [each["outcome"] for each in json.loads(listed.out)] == ["removed"]


def test_disk_that_is_full_after_the_first_removal(
    cloud: Cloud, dedangle: Dedangle, state_dir: Path, elsewhere: tuple[str, str]
) -> None:
    builder = Builder(cloud, "p1")
    servers = [builder.server(f"full-{number}", 0) for number in range(3)]
    for each in servers:
        Breaker(builder).reserve_attachment(each.id, builder.volume())
    execute = ("--execute", "--yes", "-f", "json")
    assert_removed(dedangle("cleanup", servers[0].id, *execute, *elsewhere))
    path, copy = state_dir / NAME, state_dir.parent / NAME
    intent, outcome = path.read_bytes().splitlines(keepends=True)
    room = len(intent) + len(outcome) + len(intent) // 2
    path.rename(copy)
    with file_system(state_dir, f"size={8 * PAGE}"):
        filler = json.dumps({"at": "2026-11-22T21:30:00+00:00", "phase": "begin", "server_id": ""})
        path.write_text(filler.replace('""', f'"{"x" * (PAGE - room - len(filler) - 1)}"') + "\n")
        assert path.stat().st_size == PAGE - room
        with (state_dir / "ballast").open("wb", buffering=0) as handle:
            assert 0 < handle.write(b"x" * (8 * PAGE)) < 8 * PAGE
        before = rows.snapshot(cloud.home)
        done = dedangle("cleanup", servers[1].id, servers[2].id, *execute, *elsewhere)
        after = rows.snapshot(cloud.home)
    # The output shows the changes that were made, and that others were not.
    assert done.code == 5, done.err
    assert sorted(each["outcome"] or "" for each in done.findings) == ["", "removed"]
    assert "No space left on device. The run stopped before its other changes. Fix this and run again." in done.err
    assert "Nothing was changed" not in done.err
    gone = {key for key, row in after.attachments.items() if row["deleted"] and not before.attachments[key]["deleted"]}
    assert gone == {each["attachment_id"] for each in done.findings if each["outcome"]}


def test_state_dir_that_is_read_only(
    cloud: Cloud, dedangle: Dedangle, broken: Server, state_dir: Path, elsewhere: tuple[str, str]
) -> None:
    before = rows.snapshot(cloud.home)
    with file_system(state_dir, "size=64k,ro"):
        assert_refused(cleanup(dedangle, broken, elsewhere), state_dir / NAME, "Read-only file system")
    assert not rows.diff(before, rows.snapshot(cloud.home))


def test_malformed_journal_is_named_and_written_on(
    dedangle: Dedangle, broken: Server, state_dir: Path, elsewhere: tuple[str, str]
) -> None:
    path = state_dir / NAME
    path.write_bytes(b"\x00garbage\n{}\n")
    assert_removed(cleanup(dedangle, broken, elsewhere))
    listed = dedangle("journal", "list", "--volume", broken.volumes[1], "-f", "json", *elsewhere)
    assert listed.code == 5
    assert listed.err.splitlines() == [f"This line is not a journal entry: {path}, line {number}" for number in (1, 2)]
    (entry,) = json.loads(listed.out)
    assert (entry["server_id"], entry["door"], entry["outcome"]) == (broken.id, "command", "removed")
    shown = dedangle("journal", "show", entry["entry"], "-f", "json", *elsewhere)
    assert json.loads(shown.out)["row"]["volume_id"] == broken.volumes[1]
    for arguments in (("--server", "another"), ("--code", "another"), ("--since", "2999-01-01")):
        assert json.loads(dedangle("journal", "list", "-f", "json", *arguments, *elsewhere).out) == []
    # A compute host has no database and reads a journal all the same.
    copy = dedangle("journal", "list", "--journal", str(path), "-f", "json")
    assert json.loads(copy.out) == [entry]


def test_no_journal_yet(dedangle: Dedangle, state_dir: Path, elsewhere: tuple[str, str]) -> None:
    done = dedangle("journal", "list", "-f", "json", *elsewhere)
    assert (done.code, json.loads(done.out)) == (0, [])
    assert done.err == f"There is no journal {state_dir / NAME} yet: dedangle has made no changes on this machine.\n"
    done = dedangle("journal", "list", "--journal", str(state_dir / "copy"), *elsewhere)
    assert (done.code, done.out, done.err) == (2, "", f"There is no journal {state_dir / 'copy'}.\n")
    (state_dir / NAME).mkdir()
    done = dedangle("journal", "list", *elsewhere)
    assert (done.code, done.out) == (2, "")
    assert done.err == f"The journal {state_dir / NAME} cannot be read: Is a directory.\n"


def test_reboot_with_a_full_disk_goes_on_and_removes_nothing(cloud: Cloud) -> None:
    builder = Builder(cloud, "p1")
    server = builder.server("rebooted", 1)
    Breaker(builder).lose_attachment(server.id, server.volumes[1])
    before = rows.snapshot(cloud.home)
    path = cloud.home.state / "dedangle" / NAME
    kept = path.with_suffix(".kept")
    path.touch()
    path.rename(kept)
    path.symlink_to("/dev/full")
    try:
        action = builder.reboot(server.id, "HARD")
    finally:
        path.unlink()
        kept.rename(path)
    assert [(each["event"], each["result"]) for each in action["events"]] == [("compute_reboot_instance", "Success")]
    assert not rows.diff(before, rows.snapshot(cloud.home))
