# SPDX-License-Identifier: Apache-2.0
"""Whatever does not answer, nothing is removed, and the exit code and one line say what was not read."""

import json
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dedangle.lab import rows
from dedangle.lab.breakers import Breaker
from dedangle.lab.builders import Builder, Server
from dedangle.lab.client import wait_for
from dedangle.lab.cloud import Cloud
from dedangle.state.lock import AnotherRunError, exclusive
from shell import Dedangle, Done, journal

LIST = r"/v3/.*attachments"
SHOW = r"/v3/.*attachments/.+"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A cloud of its own: what other tests left would be removed by these sweeps, some of it only minutes later."""
    with Cloud(tmp_path_factory.mktemp("incomplete")) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def dedangle(cloud: Cloud) -> Dedangle:
    return Dedangle(cloud)


@pytest.fixture(scope="module")
def broken(cloud: Cloud) -> Server:
    """A stopped server with a lost attachment; the sweep finds another's reserved one beside it."""
    builder = Builder(cloud, "p1")
    breaker = Breaker(builder)
    server = builder.server("broken", 2)
    breaker.lose_attachment(server.id, server.volumes[1])
    builder.stop(server.id)
    breaker.reserve_attachment(builder.server("reserved", 0).id, builder.volume())
    # A server of another project, which a credential must see.
    Builder(cloud, "p2").server("control", 1)
    return server


@pytest.fixture(autouse=True)
def nothing_changes(broken: Server, cloud: Cloud) -> Iterator[None]:
    before = rows.snapshot(cloud.home)
    yield
    cloud.faults.clear()
    assert rows.diff(before, rows.snapshot(cloud.home)) == []


def sweep(dedangle: Dedangle, **environment: str) -> Done:
    return dedangle("sweep", "--execute", "--yes", "-f", "json", "--max-removals", "1000", **environment)


def cleanup(dedangle: Dedangle, server: Server, **environment: str) -> Done:
    return dedangle("cleanup", server.id, "--no-host", "--execute", "--yes", "-f", "json", **environment)


def assert_incomplete(done: Done, names: str) -> None:
    assert done.code == 5, done.err
    assert names in done.err
    assert "Traceback" not in done.err


FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("500", {"status": 500}),
    ("a proxy's 404", {"proxy_404": True}),
    ("503", {"status": 503}),
    ("403", {"status": 403}),
    ("a reset", {"drop": "request"}),
]
EACH_FAULT = [
    pytest.param(fault, marks=[pytest.mark.thorough] * (number > 1), id=name)
    for number, (name, fault) in enumerate(FAULTS)
]


@pytest.mark.parametrize("fault", EACH_FAULT)
def test_list_of_attachments_fails(cloud: Cloud, dedangle: Dedangle, broken: Server, fault: dict[str, Any]) -> None:
    with cloud.faults.inject("cinder", method="GET", path=LIST, **fault):
        assert_incomplete(sweep(dedangle), "Not checked: every server: Cinder")
        assert_incomplete(cleanup(dedangle, broken), f"Not checked: server {broken.id}: Cinder")


@pytest.mark.parametrize("fault", EACH_FAULT)
def test_one_attachment_cannot_be_read(cloud: Cloud, dedangle: Dedangle, broken: Server, fault: dict[str, Any]) -> None:
    with cloud.faults.inject("cinder", method="GET", path=SHOW, **fault):
        assert_incomplete(cleanup(dedangle, broken), f"Not checked: server {broken.id}: Cinder")


def test_cinder_hangs(cloud: Cloud, dedangle: Dedangle, broken: Server, tmp_path: Path) -> None:
    clouds = json.loads(cloud.clouds_yaml.read_text())
    clouds["clouds"]["dedangle-admin"]["api_timeout"] = 2
    impatient = tmp_path / "clouds.yaml"
    impatient.write_text(json.dumps(clouds))
    with cloud.faults.inject("cinder", method="GET", path=LIST, delay=20):
        done = cleanup(dedangle, broken, OS_CLOUD="dedangle-admin", OS_CLIENT_CONFIG_FILE=str(impatient))
    assert_incomplete(
        done, f"Not checked: server {broken.id}: Cinder did not answer GET /attachments at http://127.0.0.1:"
    )
    assert "(ConnectTimeout)" in done.err


def test_signal_ends_a_run_that_waits_for_an_answer_at_once(cloud: Cloud, dedangle: Dedangle, broken: Server) -> None:
    began = time.time()
    with (
        cloud.faults.inject("cinder", method="GET", path=LIST, delay=90),
        dedangle.start("cleanup", broken.id, "--no-host", "--execute", "--yes") as process,
    ):
        wait_for("the login", lambda: any(each.method == "POST" for each in cloud.access("keystone", began)))
        process.send_signal(signal.SIGINT)
        # Well before the answer.
        _, err = process.communicate(timeout=45)
    assert process.returncode == 130
    assert "Stopped by a signal; no change was interrupted" in err


def test_cinder_is_stopped(cloud: Cloud, dedangle: Dedangle, broken: Server) -> None:
    cloud.stop("cinder")
    try:
        assert_incomplete(sweep(dedangle), "Cinder did not answer")
        assert_incomplete(cleanup(dedangle, broken), "Cinder did not answer")
    finally:
        cloud.start("cinder")


def test_keystone_is_stopped(cloud: Cloud, dedangle: Dedangle) -> None:
    cloud.stop("keystone")
    try:
        assert_incomplete(sweep(dedangle), "Keystone did not answer at http://127.0.0.1:")
    finally:
        cloud.start("keystone")


def test_nothing_listens_at_the_auth_url(dedangle: Dedangle, broken: Server) -> None:
    login = {"OS_USERNAME": "admin", "OS_PASSWORD": "x", "OS_PROJECT_NAME": "admin"}
    # Without a version in it keystoneauth looks for one first.
    done = cleanup(dedangle, broken, OS_AUTH_URL="http://127.0.0.1:1", **login)
    assert_incomplete(
        done, "Keystone did not answer at http://127.0.0.1:1 (auth_url from the environment variables OS_*)"
    )


@pytest.mark.parametrize("database", ["nova_cell1", "nova_api", pytest.param("nova_cell0", marks=pytest.mark.thorough)])
def test_database_of_nova_is_moved_away(cloud: Cloud, dedangle: Dedangle, broken: Server, database: str) -> None:
    names = {"nova_cell0": "Nova's cell0", "nova_cell1": "Nova's cell1", "nova_api": "Nova's API database"}
    with moved_away(cloud.home.database_file(database)):
        assert_incomplete(sweep(dedangle), names[database])
        assert_incomplete(cleanup(dedangle, broken), names[database])


def test_token_sees_one_project_only(cloud: Cloud, dedangle: Dedangle, broken: Server) -> None:
    member = {"OS_CLIENT_CONFIG_FILE": str(cloud.clouds_yaml), "OS_CLOUD": "dedangle-p1"}
    assert_incomplete(sweep(dedangle, **member), "may not see every project")
    done = dedangle("cleanup", broken.id, "--no-host", "--execute", "--yes", **member)
    assert_incomplete(done, "from the role of these credentials")


@pytest.mark.parametrize("status", [409, 500, *(pytest.param(each, marks=pytest.mark.thorough) for each in (403, 503))])
def test_cinder_refuses_the_delete(cloud: Cloud, dedangle: Dedangle, status: int) -> None:
    with cloud.faults.inject("cinder", method="DELETE", path=SHOW, status=status):
        done = sweep(dedangle)
    assert done.code == 5
    outcomes = {each["outcome"] for each in done.findings if each["disposition"] == "remove"}
    assert outcomes == {"refused" if status in (403, 409) else "failed"}


def test_audit_names_what_was_planted_and_removes_nothing(dedangle: Dedangle, broken: Server) -> None:
    done = dedangle("audit", "--server", broken.id, "-f", "json", "--detailed-exit-code")
    assert done.code == 3
    assert [("mapping-without-attachment", broken.volumes[1])] == [
        (each["code"], each["volume_id"]) for each in done.findings
    ]


def test_fuse_trips(dedangle: Dedangle) -> None:
    done = dedangle("sweep", "--execute", "--yes", "--max-removals", "0")
    assert done.code == 6
    assert "exceed max_removals (0)" in done.err


def test_another_run_holds_the_lock(cloud: Cloud, dedangle: Dedangle) -> None:
    with exclusive(cloud.home.state / "dedangle"):
        done = dedangle("sweep", "--execute", "--yes")
        audit = dedangle("sweep")
    assert done.code == 7
    assert "Another run of dedangle holds" in done.err
    assert done.out == ""
    assert audit.code == 0


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.thorough)]
)
def test_signal_ends_the_run_at_a_safe_boundary(
    cloud: Cloud, dedangle: Dedangle, signum: signal.Signals, code: int
) -> None:
    before = journal(cloud.home.state / "dedangle")
    with (
        cloud.faults.inject("cinder", method="DELETE", path=SHOW, status=500, delay=2),
        dedangle.start("sweep", "--execute", "--yes", "--max-removals", "1000") as process,
    ):
        wait_for("the intent", lambda: journal(cloud.home.state / "dedangle") != before)
        with pytest.raises(AnotherRunError), exclusive(cloud.home.state / "dedangle"):
            pass
        process.send_signal(signum)
        _, err = process.communicate(timeout=60)
    assert code == process.returncode
    assert "Stopped by a signal; no change was interrupted" in err
    assert [each["phase"] for each in journal(cloud.home.state / "dedangle")[len(before) :]] == ["intent", "outcome"]


def test_journal_cannot_be_written(cloud: Cloud, dedangle: Dedangle) -> None:
    path = cloud.home.state / "dedangle" / "journal.jsonl"
    path.touch()
    kept = path.with_suffix(".kept")
    path.rename(kept)
    path.mkdir()
    try:
        done = sweep(dedangle)
    finally:
        path.rmdir()
        kept.rename(path)
    assert done.code == 2
    assert f"The journal {path} cannot be written" in done.err


@contextmanager
def moved_away(path: Path) -> Iterator[None]:
    away = path.with_suffix(".away")
    shutil.move(path, away)
    try:
        yield
    finally:
        shutil.move(away, path)
