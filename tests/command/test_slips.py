# SPDX-License-Identifier: Apache-2.0
"""Slips of the fingers get one line that says what is wrong and what to type; none looks like a clean cloud."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from cases.stage import Stage
from dedangle.lab import rows
from dedangle.lab.cloud import Cloud
from shell import Dedangle


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--cell", "nosuch"), "No cell is named nosuch. Nova's cells are: "),
        (("--host", "nosuch"), "No compute host is named nosuch."),
        (("--project", "nosuch"), "No cell has a server of project nosuch."),
    ],
)
def test_a_filter_that_names_nothing_is_no_clean_cloud(
    cloud: Cloud, dedangle: Dedangle, arguments: tuple[str, str], why: str
) -> None:
    Stage(cloud).server(0)
    done = dedangle("audit", *arguments)
    assert (done.code, done.out) == (2, "")
    assert why in done.err
    assert len(done.err.splitlines()) == 1


def test_a_host_that_is_nearly_named_is_suggested(cloud: Cloud, dedangle: Dedangle) -> None:
    (service,) = cloud.admin.nova("GET", "/os-services?binary=nova-compute", expect=200).body["services"][:1]
    host = str(service["host"])
    done = dedangle("audit", "--host", host[:-1])
    assert done.code == 2
    assert f"Did you mean {host}?" in done.err
    assert dedangle("audit", "--host", host).code == 0


@pytest.mark.parametrize("verb", ["cleanup", pytest.param("audit", marks=pytest.mark.thorough)])
def test_a_volume_or_an_attachment_in_place_of_a_server_is_recognised(
    cloud: Cloud, dedangle: Dedangle, verb: str
) -> None:
    stage = Stage(cloud)
    server, free = stage.server(0), stage.user.volume()
    volume = server.volumes[0]
    attachment = stage.attachment(server, volume)
    option = ["--server"] if verb == "audit" else []
    for ident, told in (
        (volume, f"{volume} is a volume, not a server. Server {server.id} has it attached."),
        (attachment, f"{attachment} is an attachment of volume {volume}, not a server."),
        (free, f"{free} is a volume, and no server has an attachment of it."),
    ):
        done = dedangle(verb, *option, ident)
        assert done.code == 2
        assert told in done.err


def test_a_server_or_an_attachment_in_place_of_a_volume_is_recognised(cloud: Cloud, dedangle: Dedangle) -> None:
    stage = Stage(cloud)
    server = stage.user.server("not-a-volume", 1)
    volume = server.volumes[1]
    attachment = stage.attachment(server, volume)
    is_server = f"{server.id} is a server, not a volume. Run: dedangle audit --server {server.id}"
    is_attachment = (
        f"{attachment} is an attachment of volume {volume}, not a volume. Run: dedangle audit --volume {volume}"
    )
    is_named = f"no volume not-a-volume. Server {server.id} has this name. Run: dedangle audit --server {server.id}"
    for given, told in ((server.id, is_server), (attachment, is_attachment), ("not-a-volume", is_named)):
        done = dedangle("audit", "--volume", given)
        assert (done.code, done.out) == (2, "")
        assert told in done.err


def test_what_was_looked_at_is_said_if_nothing_dangles(cloud: Cloud, dedangle: Dedangle) -> None:
    stage = Stage(cloud)
    servers = [stage.server(), stage.server(0)]
    volumes = sum(len(server.volumes) for server in servers)
    done = dedangle("audit", *(part for server in servers for part in ("--server", server.id)))
    assert (done.code, done.out) == (0, "")
    assert (
        f"no dangling volume attachments found (2 servers, {volumes} volumes); other pairs: {volumes} consistent."
        in done.err
    )


def test_what_is_in_progress_is_named(cloud: Cloud, dedangle: Dedangle) -> None:
    stage = Stage(cloud)
    server, volume = stage.server(0), stage.user.volume()
    stage.breaks.reserve_attachment(server.id, volume)
    stage.edit_server(server, task_state="image_uploading")
    before = rows.snapshot(cloud.home)
    for done in (dedangle("cleanup", server.id, "--execute", "--yes"), dedangle("audit", "--server", server.id)):
        assert done.code == 0
        what = f"Volume {volume} of server {server.id}"
        assert f"Skipped: {what} is waiting for an operation in progress: task_state image_uploading." in done.err
        assert "There is nothing to do" not in done.err
    assert rows.diff(before, rows.snapshot(cloud.home)) == []
    stage.edit_server(server, task_state=None)


def test_a_mismatch_keeps_the_gate_shut(cloud: Cloud, dedangle: Dedangle) -> None:
    stage = Stage(cloud)
    server = stage.server()
    gate = ("audit", "--server", server.id, "--detailed-exit-code")
    assert dedangle(*gate).code == 0
    stage.edit_volume(server.volumes[1], status="available", attach_status="detached")
    done = dedangle(*gate, "-f", "json")
    assert [each["code"] for each in done.findings] == ["volume-status-wrong"]
    assert done.code == 3


@pytest.mark.parametrize("by", ["name", pytest.param("id", marks=pytest.mark.thorough)])
def test_a_volume_is_audited_and_cleaned_and_nothing_else_is(cloud: Cloud, dedangle: Dedangle, by: str) -> None:
    stage = Stage(cloud)
    server, name = stage.server(0), f"stuck-{by}"
    volume, other = stage.user.volume(name=name), stage.user.volume()
    for each in (volume, other):
        stage.breaks.reserve_attachment(server.id, each)
    rows.settle(cloud.home)
    wanted = volume if by == "id" else name
    audited = dedangle("audit", "--volume", wanted, "-f", "json")
    assert [(each["code"], each["volume_id"]) for each in audited.findings] == [("attachment-never-used", volume)]
    before = rows.snapshot(cloud.home)
    done = dedangle("cleanup", "--volume", wanted, "--execute", "--yes", "-f", "json")
    assert [(each["outcome"], each["volume_id"]) for each in done.findings] == [("removed", volume)], done.err
    (entry,) = dedangle("journal", "list", "--volume", volume[:8], "--server", server.id[:8], "-f", "json").findings
    assert entry["project_name"] == "p1"
    for names in (("--server", entry["server_name"], "--volume", name), ("--volume", name)):
        assert entry in dedangle("journal", "list", *names, "-f", "json").findings
    done = dedangle("journal", "list", "--server", "nosuch")
    assert "entries in the journal matches." in done.err
    assert (entry["volume_id"], entry["volume_name"], entry["volume_size"]) == (volume, name, 1)
    assert (entry["server_id"], entry["vm_state"]) == (server.id, "active")
    assert entry["server_name"]
    after = rows.snapshot(cloud.home)
    assert {each["volume_id"] for each in before.attachments_of(server.id)} == {*server.volumes, volume, other}
    assert {each["volume_id"] for each in after.attachments_of(server.id)} == {*server.volumes, other}
    assert dedangle("cleanup", "--volume", wanted, "--execute", "--yes").code == 0
    assert rows.diff(after, rows.snapshot(cloud.home)) == []


def test_a_reader_that_has_seen_enough_is_no_error(cloud: Cloud, dedangle: Dedangle, tmp_path: Path) -> None:
    stage = Stage(cloud)
    server = stage.server(0)
    stage.breaks.reserve_attachment(server.id, stage.user.volume())
    reading, writing = os.pipe()
    os.close(reading)
    program = [str(Path(sys.executable).with_name("dedangle")), "--config-file", str(cloud.nova_conf)]
    audit = ["audit", "--server", server.id, "--report", str(tmp_path / "run.json"), "--detailed-exit-code"]
    done = subprocess.run([*program, *audit], stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert done.returncode == 3, done.stderr
    assert "Unexpected" not in done.stderr
    assert "Run " in done.stderr
    assert json.loads((tmp_path / "run.json").read_text())["findings"]


def test_a_terminal_that_cannot_show_a_name_shows_its_codes(cloud: Cloud, dedangle: Dedangle) -> None:
    stage = Stage(cloud)
    server, volume = stage.server(0), stage.user.volume(name="d\u00e4ta-\u6771")
    stage.breaks.reserve_attachment(server.id, volume)
    program = [str(Path(sys.executable).with_name("dedangle")), "--config-file", str(cloud.nova_conf)]
    done = subprocess.run(
        [*program, "cleanup", server.id],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Volume:     d\\xe4ta-\\u6771, 1 GiB" in done.stdout


def test_the_plan_is_shown_before_the_question(cloud: Cloud, dedangle: Dedangle) -> None:
    stage = Stage(cloud)
    server, volume = stage.server(0), stage.user.volume()
    attachment = stage.breaks.reserve_attachment(server.id, volume)
    before = rows.snapshot(cloud.home)
    shown = _on_a_terminal(cloud, "n", "cleanup", server.id, "--execute")
    plan, _, rest = shown.partition("Make this change? [y/N]")
    assert rest
    assert f"delete Cinder's attachment {attachment}" in " ".join(plan.split())
    assert "Evidence:" in plan
    assert "Nothing was changed." in rest
    assert "Evidence:" not in rest
    assert not rows.diff(before, rows.snapshot(cloud.home))

    shown = _on_a_terminal(cloud, "y", "cleanup", server.id, "--execute")
    assert "removed" in shown.partition("Make this change? [y/N]")[2]
    assert attachment not in {each["id"] for each in rows.snapshot(cloud.home).attachments_of(server.id)}


def _on_a_terminal(cloud: Cloud, answer: str, *arguments: str) -> str:
    """Run dedangle on a terminal where the operator types one answer, and return what the terminal shows."""
    main, terminal = pty.openpty()
    program = [str(Path(sys.executable).with_name("dedangle")), "--config-file", str(cloud.nova_conf), *arguments]
    with subprocess.Popen(program, stdin=terminal, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        os.write(main, f"{answer}\n".encode())
        shown = b""
        # Linux reports EIO when no process has the terminal open any more.
        with contextlib.suppress(OSError):
            while part := os.read(main, 4096):
                shown += part
    assert process.returncode == 0
    os.close(main)
    return shown.decode()


def test_a_volume_of_another_server_than_the_one_named_is_a_slip(cloud: Cloud, dedangle: Dedangle) -> None:
    stage = Stage(cloud)
    server, other = stage.server(0), stage.server(0)
    for verb in (("cleanup", other.id), ("audit", "--server", other.id)):
        done = dedangle(*verb, "--volume", server.volumes[0])
        assert (done.code, done.out) == (2, "")
        assert f"volume {server.volumes[0]} mapped or attached. Servers that have it: {server.id}." in done.err


@pytest.mark.parametrize("volume", ["nosuch", "00000000-0000-4000-8000-00000000dead"])
def test_a_volume_that_nobody_knows_is_a_slip(dedangle: Dedangle, volume: str) -> None:
    for verb in ("audit", "cleanup"):
        done = dedangle(verb, "--volume", volume)
        assert (done.code, done.out) == (2, "")
        assert volume in done.err
        assert "openstack volume list --all-projects" in done.err


def test_control_c_while_a_run_begins_shows_no_traceback() -> None:
    program = (
        "import builtins, sys\n"
        "original = builtins.__import__\n"
        "def interrupted(name, *rest):\n"
        "    if name.startswith('cliff'):\n"
        "        raise KeyboardInterrupt\n"
        "    return original(name, *rest)\n"
        "builtins.__import__ = interrupted\n"
        "from dedangle.cli.main import main\n"
        "sys.exit(main(['audit']))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
