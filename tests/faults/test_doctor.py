# SPDX-License-Identifier: Apache-2.0
"""The doctor names what is broken, on one line, and looks at everything else all the same."""

import contextlib
import csv
import io
import json
import sqlite3
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from filesystems import file_system
from test_incomplete import moved_away

from dedangle.core.records import Reading
from dedangle.doctor import causes, checks
from dedangle.doctor.checks import State
from dedangle.lab import rows
from dedangle.lab.builders import Builder
from dedangle.lab.cloud import Cloud
from dedangle.systems.cinder.api import Backend
from shell import Dedangle, Done

ALL = (
    "configuration",
    "database API database",
    "database cell0",
    "database cell1",
    "credentials",
    "service token",
    "cinder microversion",
    "cinder filters",
    "clock",
    "nova clock",
    "cinder policies",
    "cinder-volume",
    "nova service token",
    "all projects in cinder",
    "all projects in nova",
    "hosts",
    "state_dir",
    "lock",
)

Overridden = Callable[[str], tuple[str, str]]


@pytest.fixture(scope="module", autouse=True)
def control(cloud: Cloud) -> None:
    """A server of another project than the credentials', which they must see."""
    Builder(cloud, "p2").server("control", 1)


@pytest.fixture
def overridden(tmp_path: Path) -> Overridden:
    """Options that add to the lab's configuration."""

    def options(text: str) -> tuple[str, str]:
        # A directory is read after every file.
        path = tmp_path / "conf.d"
        path.mkdir()
        (path / "override.conf").write_text(text)
        return "--config-dir", str(path)

    return options


def examine(dedangle: Dedangle, *options: str, **environment: str) -> tuple[Done, dict[str, dict[str, str]]]:
    done = dedangle("doctor", "-f", "json", *options, **environment)
    assert "Traceback" not in done.err + done.out
    checks = {each["check"]: each for each in json.loads(done.out)}
    assert all(len(each["sentence"].splitlines()) == 1 for each in checks.values())
    assert all(each["next_step"] for each in checks.values() if each["state"] != "ok")
    return done, checks


def failed(checks: dict[str, dict[str, str]]) -> list[str]:
    return [name for name, each in checks.items() if each["state"] == "fail"]


def warned(checks: dict[str, dict[str, str]]) -> list[str]:
    return [name for name, each in checks.items() if each["state"] == "warning"]


def test_all_is_well(cloud: Cloud, dedangle: Dedangle) -> None:
    before = rows.snapshot(cloud.home)
    done, checks = examine(dedangle)
    assert (done.code, done.err) == (0, "")
    assert tuple(checks) == ALL
    # RPC of this lab ends with the process, and doctor says so.
    assert (failed(checks), warned(checks)) == ([], ["hosts"])
    assert "running dedangle: 0." in checks["hosts"]["sentence"]
    assert str(cloud.nova_conf) in checks["configuration"]["sentence"]
    assert "Nova 2026.2 (ab450ba04102)" in checks["database cell1"]["sentence"]
    assert "cdeec0c85668" in checks["database API database"]["sentence"]
    assert checks["database cell1"]["sentence"].endswith("in a file.")
    assert "user nova of project service" in checks["credentials"]["sentence"]
    assert "of another project" in checks["all projects in nova"]["sentence"]
    assert rows.diff(before, rows.snapshot(cloud.home)) == []


def test_cinder_database_is_the_one_that_the_api_speaks_for(
    cloud: Cloud, dedangle: Dedangle, overridden: Overridden, tmp_path: Path
) -> None:
    copy, own = tmp_path / "copy.db", cloud.home.database_file("cinder")
    options = overridden(f"[dedangle]\ncinder_database = sqlite:///{copy}\n")
    copy.symlink_to(own)
    done, checks = examine(dedangle, *options)
    assert (done.code, checks["cinder database"]["state"]) == (0, "ok")
    copy.unlink()
    with contextlib.closing(sqlite3.connect(own)) as source, contextlib.closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    # What the copy does not know of.
    Builder(cloud, "p2").server("younger", 1)
    done, checks = examine(dedangle, *options)
    assert (done.code, failed(checks)) == (5, ["cinder database"])
    assert "an old copy" in checks["cinder database"]["sentence"]
    copy.unlink()
    copy.symlink_to(tmp_path / "gone" / "cinder.db")
    done, checks = examine(dedangle, *options)
    assert (done.code, failed(checks)) == (5, ["cinder database"])
    assert "could not be read" in checks["cinder database"]["sentence"]


def test_it_speaks_every_format(dedangle: Dedangle) -> None:
    shown = dedangle("doctor")
    assert shown.code == 0
    assert "  configuration: dedangle " in shown.out
    # The lab's paths are long, and a path is not broken.
    assert all(len(line) <= 80 or len(line.split()) == 1 for line in shown.out.splitlines())
    words = " ".join(shown.out.split())
    assert "Next: Deploy dedangle-nova-compute there" in words
    assert words.index("hosts: ") < words.index("OK (") < words.index("configuration: ")
    assert "| configuration" in dedangle("doctor", "-c", "check").out
    read = list(csv.DictReader(io.StringIO(dedangle("doctor", "-f", "csv").out)))
    assert tuple(each["check"] for each in read) == ALL
    assert "check: configuration" in dedangle("doctor", "-f", "yaml").out
    assert dedangle("doctor", "-f", "value", "-c", "check").out.splitlines() == list(ALL)


@pytest.mark.parametrize("database", ["nova_cell0", "nova_cell1"])
def test_a_cell_is_moved_away(cloud: Cloud, dedangle: Dedangle, database: str) -> None:
    with moved_away(cloud.home.database_file(database)):
        done, checks = examine(dedangle)
    assert done.code == 5
    assert failed(checks) == [f"database {database.removeprefix('nova_')}"]
    assert warned(checks) == ["all projects", "hosts"]


def test_the_api_database_is_moved_away(cloud: Cloud, dedangle: Dedangle) -> None:
    with moved_away(cloud.home.database_file("nova_api")):
        done, checks = examine(dedangle)
    assert done.code == 5
    assert failed(checks) == ["database API database"]
    assert checks["cinder filters"]["state"] == checks["state_dir"]["state"] == "ok"


def test_a_wrong_password(dedangle: Dedangle, overridden: Overridden) -> None:
    done, checks = examine(dedangle, *overridden("[cinder]\npassword = wrong\n"))
    assert done.code == 5
    assert failed(checks) == ["credentials"]
    assert checks["credentials"]["sentence"].endswith(
        "/v3 (auth_url from [cinder] of nova.conf) refuses user nova of project service: Unauthorized."
    )
    assert checks["credentials"]["next_step"] == (
        "Correct auth_type, auth_url, username, password, project_name and the domains in [cinder] of nova.conf, or "
        "set an administrator in [dedangle] or OS_*."
    )
    assert checks["database cell1"]["state"] == checks["state_dir"]["state"] == "ok"


def test_keystone_is_down(cloud: Cloud, dedangle: Dedangle) -> None:
    cloud.stop("keystone")
    try:
        done, checks = examine(dedangle)
    finally:
        cloud.start("keystone")
    assert done.code == 5
    assert failed(checks) == ["credentials"]
    assert "Keystone did not answer at http://127.0.0.1:" in checks["credentials"]["sentence"]
    assert checks["database cell1"]["state"] == checks["state_dir"]["state"] == "ok"


def test_cinder_is_down(cloud: Cloud, dedangle: Dedangle) -> None:
    cloud.stop("cinder")
    try:
        done, checks = examine(dedangle)
    finally:
        cloud.start("cinder")
    assert done.code == 5
    assert "Cinder did not answer GET /attachments at http://127.0.0.1:" in checks["cinder filters"]["sentence"]
    # What cannot be known without Cinder gives no advice of its own.
    assert failed(checks)[-1] == "cinder filters"
    assert checks["all projects"]["sentence"] == "Not checked: Cinder did not list attachments."
    assert checks["nova clock"]["state"] == checks["credentials"]["state"] == "ok"


def test_a_token_of_one_project(cloud: Cloud, dedangle: Dedangle) -> None:
    # What the role hides is seen by a volume of its own project.
    Builder(cloud).volume()
    done, checks = examine(dedangle, OS_CLIENT_CONFIG_FILE=str(cloud.clouds_yaml), OS_CLOUD="dedangle-p1")
    assert done.code == 5
    assert failed(checks) == ["cinder policies", "all projects in cinder"]
    assert "migration status" in checks["cinder policies"]["sentence"]
    assert warned(checks) == ["credentials", "cinder-volume", "all projects in nova", "hosts"]


def test_cinder_has_no_resource_filters(cloud: Cloud, dedangle: Dedangle) -> None:
    with cloud.faults.inject("cinder", method="GET", path=r"/v3/.*attachments", query="instance_id", status=400):
        done, checks = examine(dedangle)
    assert done.code == 5
    assert failed(checks) == ["cinder filters"]
    assert "Cinder answered 400" in checks["cinder filters"]["sentence"]
    assert "resource_filters.json" in checks["cinder filters"]["next_step"]
    assert checks["all projects in cinder"]["state"] == "ok"


def test_state_dir_is_read_only(dedangle: Dedangle, overridden: Overridden, tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.mkdir()
    options = overridden(f"[dedangle]\nstate_dir = {path}\n")
    with file_system(path, "size=64k,ro"):
        done, checks = examine(dedangle, *options)
    assert done.code == 5
    assert failed(checks) == ["state_dir"]
    assert "Read-only file system" in checks["state_dir"]["sentence"]


def test_state_dir_is_not_made(dedangle: Dedangle, overridden: Overridden, tmp_path: Path) -> None:
    path = tmp_path / "missing"
    done, checks = examine(dedangle, *overridden(f"[dedangle]\nstate_dir = {path}\n"))
    assert done.code == 0
    assert "state_dir" in warned(checks)
    assert not path.exists()


# tooz imports eventlet where that is installed, which warns of its own end.
@pytest.mark.filterwarnings("ignore:\\nEventlet")
@pytest.mark.parametrize(
    ("url", "state", "says"),
    [
        (None, "ok", "A file lock in {state_dir} prevents two runs at the same time on this machine,"),
        (
            "file://{tmp}",
            "ok",
            "coordination_url file:// prevents two runs at the same time on machines that share its",
        ),
        ("mysql://nova:secret@db/nova", "fail", "coordination_url mysql:// does not lock on Galera"),
        ("etcd3+http://nova:secret@127.0.0.1:1", "fail", "coordination_url etcd3+http:// cannot be used"),
    ],
)
def test_the_lock_is_named_with_what_it_guarantees(tmp_path: Path, url: str | None, state: str, says: str) -> None:
    check = checks.lock(tmp_path, url and url.format(tmp=tmp_path))
    assert check.state == state
    assert check.sentence.startswith(says.format(state_dir=tmp_path))
    assert "secret" not in check.sentence + check.next_step
    assert check.next_step or state == "ok"


def test_coordination_url_is_what_the_lock_is_judged_by(dedangle: Dedangle, overridden: Overridden) -> None:
    done, checks = examine(dedangle, *overridden("[dedangle]\ncoordination_url = mysql://nova:secret@db/nova\n"))
    assert (done.code, failed(checks)) == (5, ["lock"])
    assert "secret" not in done.out


def test_configuration_cannot_be_read(dedangle: Dedangle, overridden: Overridden) -> None:
    done, checks = examine(dedangle, *overridden("[dedangle]\ngrace_period = soon\n"))
    assert done.code == 5
    assert (list(checks), failed(checks)) == (["configuration"], ["configuration"])


@pytest.mark.parametrize(
    ("seconds", "state"), [(0, State.OK), (-5, State.OK), (30, State.WARNING), (-30, State.WARNING), (90, State.FAIL)]
)
def test_clocks_are_apart(seconds: int, state: State) -> None:
    now = datetime(2026, 11, 22, 23, 0, tzinfo=timezone.utc)
    check = checks.clock([now + timedelta(seconds=seconds)], now, timedelta(seconds=60))
    assert check.state is state
    assert f"differ by {abs(seconds)} s." in check.sentence


def test_a_backend_that_is_down_is_named_and_a_disabled_one_is_not() -> None:
    class Cinder:
        def backends(self) -> Reading[Backend]:
            return Reading(
                (Backend("a@lvm", True, True), Backend("b@ceph", False, True), Backend("c@nfs", False, False))
            )

    check = causes.cinder_volume(Cinder())  # type: ignore[arg-type]
    assert check.state is State.WARNING
    assert "cinder-volume is down for b@ceph:" in check.sentence


def test_a_nova_without_a_service_token_is_named(dedangle: Dedangle, overridden: Overridden) -> None:
    _, checks = examine(dedangle, *overridden("[service_user]\nsend_service_user_token = false\n"))
    assert warned(checks) == ["nova service token", "hosts"]
    assert "409" in checks["nova service token"]["sentence"]


def test_a_service_token_is_seen() -> None:
    assert checks.service_token(["X-Auth-Token", "X-Service-Token"]).state is State.FAIL
    assert checks.service_token(["X-Auth-Token"]).state is State.OK
