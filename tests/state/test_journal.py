# SPDX-License-Identifier: Apache-2.0
"""The journal keeps every entry that was acknowledged, with several writers and whenever a writer dies."""

import dataclasses
import json
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest

from dedangle.core.decisions import Disposition, Door, Finding, Outcome, Remedy, Result, Verdict
from dedangle.core.records import BlockDeviceMapping
from dedangle.state import journal
from dedangle.state.journal import Journal, JournalUnwritableError

NOW = datetime(2026, 11, 22, 21, 30, tzinfo=timezone.utc)
MAPPING = BlockDeviceMapping(
    id=7,
    uuid="bdm",
    cell="cell1",
    server_id="server",
    volume_id="volume",
    attachment_id="lost",
    has_connection_info=True,
)
FINDING = Finding(
    code="mapping-without-attachment",
    verdict=Verdict.DANGLING,
    remedy=Remedy.REMOVE_MAPPING,
    disposition=Disposition.REMOVE,
    server_id="server",
    volume_id="volume",
    sentence="It is lost.",
    mapping=MAPPING,
)
WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from state.test_journal import DONE, FINDING, writer
journal = writer(Path(sys.argv[1]), sys.argv[2], max_bytes=20_000)
for _ in range(int(sys.argv[4])):
    entry = journal.intend(FINDING)
    journal.conclude(entry, DONE)
    print(entry, flush=True)
"""
DONE = Outcome(result=Result.REMOVED)


def writer(state_dir: Path, run_id: str = "run", max_bytes: int = 1_000_000) -> Journal:
    return Journal(state_dir, run_id=run_id, door=Door.SWEEP, clock=lambda: NOW, max_bytes=max_bytes)


def writing_process(state_dir: Path, run_id: str, entries: int) -> "subprocess.Popen[str]":
    tests = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", WRITER, str(state_dir), run_id, tests, str(entries)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_processes_that_write_at_once_lose_nothing_to_rotation(tmp_path: Path) -> None:
    with_runs = {name: writing_process(tmp_path, name, 100) for name in ("a", "b", "c", "d")}
    for process in with_runs.values():
        process.communicate(timeout=120)
        assert process.returncode == 0
    files = list(tmp_path.iterdir())
    assert len(files) > 4
    assert max(each.stat().st_size for each in files) <= 20_000
    history = journal.read(tmp_path / journal.NAME)
    assert history.unreadable == ()
    assert {each.id for each in history.entries} == {f"{run}-{n}" for run in with_runs for n in range(1, 101)}
    assert {each.outcome["outcome"] for each in history.entries} == {"removed"}


def test_killed_writer_leaves_what_it_acknowledged_and_a_journal_that_goes_on(tmp_path: Path) -> None:
    with writing_process(tmp_path, "killed", 100_000) as process:
        assert process.stdout is not None
        acknowledged = [process.stdout.readline().strip() for _ in range(50)]
        process.kill()
        acknowledged += process.stdout.read().split()
    writer(tmp_path, "next").intend(FINDING)
    history = journal.read(tmp_path / journal.NAME)
    assert history.unreadable == ()
    known = [each.id for each in history.entries]
    assert known[-1] == "next-1"
    assert [*acknowledged] == known[: len(acknowledged)]


def test_reader_beside_writers_misses_nothing_that_was_there_before(tmp_path: Path) -> None:
    with writing_process(tmp_path, "beside", 200) as process:
        assert process.stdout is not None
        for line in process.stdout:
            history = journal.read(tmp_path / journal.NAME)
            assert line.strip() in {each.id for each in history.entries}
            assert history.unreadable == ()
    assert len(list(tmp_path.iterdir())) > 4


@pytest.mark.parametrize("torn", [1, 20, -1], ids=["its first byte", "its beginning", "all but its end"])
def test_torn_last_line_is_cut_off_by_the_next_write(tmp_path: Path, torn: int) -> None:
    path = tmp_path / journal.NAME
    writer(tmp_path, "whole").intend(FINDING)
    whole = path.read_bytes()
    path.write_bytes(whole + whole.rstrip()[:torn])
    assert [each.id for each in journal.read(path).entries] == ["whole-1"]
    writer(tmp_path, "next").intend(FINDING)
    history = journal.read(path)
    assert [each.id for each in history.entries] == ["whole-1", "next-1"]
    assert history.unreadable == ()
    assert path.read_bytes().startswith(whole)
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_line_that_lacks_only_its_end_is_kept(tmp_path: Path) -> None:
    path = tmp_path / journal.NAME
    writer(tmp_path, "whole").intend(FINDING)
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert [each.id for each in journal.read(path).entries] == ["whole-1"]
    writer(tmp_path, "next").intend(FINDING)
    assert [each.id for each in journal.read(path).entries] == ["whole-1", "next-1"]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"garbage",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b"7",
        b"{}",
        b'{"phase": "intent", "entry": "x"}',
        b'{"phase": "intent", "entry": 7, "at": "2026-11-22T21:30:00+00:00"}',
        b'{"phase": "intent", "entry": "x", "at": "yesterday"}',
        b'{"phase": "other", "entry": "x", "at": "2026-11-22T21:30:00+00:00"}',
    ],
)
def test_line_that_is_none_of_ours_is_named_and_the_rest_is_read(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / journal.NAME
    one = writer(tmp_path)
    first = one.intend(FINDING)
    with path.open("ab") as handle:
        handle.write(line + b"\n")
    one.conclude(first, DONE)
    second = one.intend(FINDING)
    history = journal.read(path)
    assert history.unreadable == (f"{path}, line 2",)
    assert [(each.id, each.outcome.get("outcome")) for each in history.entries] == [(first, "removed"), (second, None)]


def test_outcome_whose_intent_is_lost_is_still_an_entry(tmp_path: Path) -> None:
    writer(tmp_path).conclude("lost-1", DONE)
    (entry,) = journal.read(tmp_path / journal.NAME).entries
    assert (entry.id, entry.intent, entry.at) == ("lost-1", {}, NOW)


def test_rotated_files_are_read_without_the_current_one(tmp_path: Path) -> None:
    path = tmp_path / journal.NAME
    writer(tmp_path).intend(FINDING)
    path.rename(tmp_path / f"{journal.NAME}.9")
    (tmp_path / f"{journal.NAME}.bak").write_text("somebody's own copy")
    assert [each.id for each in journal.read(path).entries] == ["run-1"]
    writer(tmp_path, "next", max_bytes=10).intend(FINDING)
    writer(tmp_path, "last", max_bytes=10).intend(FINDING)
    assert [each.id for each in journal.read(path).entries] == ["run-1", "next-1", "last-1"]
    assert (tmp_path / f"{journal.NAME}.10").exists()


def test_no_journal_at_all(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        journal.read(tmp_path / journal.NAME)


def test_full_disk_refuses_the_intent(tmp_path: Path) -> None:
    (tmp_path / journal.NAME).symlink_to("/dev/full")
    with pytest.raises(JournalUnwritableError, match="cannot be written: No space left on device"):
        writer(tmp_path).intend(FINDING)


def test_servers_that_nova_knew_when_they_were_changed(tmp_path: Path) -> None:
    one = writer(tmp_path)
    one.intend(dataclasses.replace(FINDING, server_id="nova-knew-it", project_id="project"))
    # On an operator's word alone: Nova told no project.
    one.intend(dataclasses.replace(FINDING, server_id="purged", project_id=None))
    assert journal.read(tmp_path / journal.NAME).known_servers == {"nova-knew-it"}
