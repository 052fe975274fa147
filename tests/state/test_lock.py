# SPDX-License-Identifier: Apache-2.0
"""One run at a time: by a file, and by what tooz offers."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from dedangle.lab import packages
from dedangle.lab.client import wait_for
from dedangle.lab.errors import LabError
from dedangle.state import coordination, lock

# tooz imports eventlet where that is installed, which warns of its own end.
pytestmark = pytest.mark.filterwarnings("ignore:\\nEventlet")

REDIS = packages.Packages(("redis-server",), ("redis-server",))
ETCD = packages.Packages(("etcd-server",), ("etcd",))


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    """The URL of a Redis for the tests."""
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    with serving(REDIS, port, options):
        yield f"redis://127.0.0.1:{port}"


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[str]:
    """The URL of an etcd for the tests."""
    port, peers = free_port(), free_port()
    own, others = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peers}"
    options = {"data-dir": tmp_path / "etcd", "listen-client-urls": own, "advertise-client-urls": own}
    options |= {"listen-peer-urls": others, "initial-advertise-peer-urls": others}
    options |= {"initial-cluster": f"default={others}"}
    with serving(ETCD, port, [f"--{name}={value}" for name, value in options.items()]):
        yield f"etcd3+{own}"


@contextlib.contextmanager
def serving(of_debian: packages.Packages, port: int, options: list[str]) -> Iterator[None]:
    """The service answers on the port while the block lasts."""
    try:
        packages.ensure_installed(of_debian)
    except LabError as missing:
        pytest.skip(str(missing))
    (program,) = of_debian.programs
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([str(shutil.which(program)), *options], **quiet) as server:
        try:
            wait_for(program, lambda: _listens(port), seconds=20)
            yield
        finally:
            server.terminate()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(params=["file", "redis", "etcd"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"file://{tmp_path}" if request.param == "file" else str(request.getfixturevalue(request.param))


def test_the_second_run_is_told_who_holds_the_file_and_since_when(tmp_path: Path) -> None:
    # What an earlier run left says nothing of this one.
    (tmp_path / "lock").touch()
    os.utime(tmp_path / "lock", (0, 0))
    before = datetime.now(timezone.utc)
    with lock.exclusive(tmp_path):
        for _ in range(2):
            with pytest.raises(lock.AnotherRunError, match=str(tmp_path / "lock")) as told, lock.exclusive(tmp_path):
                pass
            # The kernel's clock of files lags behind by up to a tick.
            assert told.value.since
            assert before - timedelta(seconds=0.1) <= told.value.since <= datetime.now(timezone.utc)
        # Shards run beside one another.
        with lock.exclusive(tmp_path, "lock-1-of-2"):
            pass


def test_the_second_run_waits_for_its_turn(tmp_path: Path) -> None:
    begun, turn = threading.Event(), threading.Event()

    def second() -> None:
        begun.set()
        with lock.exclusive(tmp_path, wait=60):
            turn.set()

    with lock.exclusive(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        assert begun.wait(10)
        assert not turn.is_set()
    thread.join(10)
    assert turn.is_set()


def test_waiting_ends_when_its_time_is_over() -> None:
    clock = [0.0]

    def pause(seconds: float) -> None:
        clock[0] += seconds

    assert not lock.has_turn(lambda: False, 2.5, monotonic=lambda: clock[0], pause=pause)
    assert clock == [2.5]


def test_coordination_lets_one_run_in_at_a_time(url: str) -> None:
    told: list[str] = []
    assert ("all machines" in coordination.guarantee(url, member="doctor")) != url.startswith("file")
    with coordination.exclusive(url, "dedangle-lock", member="one", warn=told.append):
        assert url.startswith("file") == any("share its directory" in each for each in told)
        assert another_process(url, "dedangle-lock") == 7
        assert another_process(url, "dedangle-lock-1-of-2") == 0
    assert another_process(url, "dedangle-lock") == 0


def test_a_run_that_is_killed_keeps_nobody_out_for_long(url: str) -> None:
    # The file goes with its process; Redis and etcd let the lock expire.
    short = url if url.startswith("file") else f"{url}?timeout=2"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, short, "lock", "600"], stdout=subprocess.PIPE)
    assert holder.stdout
    with holder:
        assert holder.stdout.readline() == b"held\n"
        assert another_process(short, "lock") == 7
        holder.kill()
    with coordination.exclusive(short, "lock", member="next", wait=30):
        pass


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mysql://nova:secret@db/nova", "Galera"),
        ("etcd3+http://nova:secret@127.0.0.1:1", "cannot be used"),
        ("nothing://secret", "cannot be used"),
        ("secret", "not a URL"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence_without_its_password(url: str, why: str) -> None:
    with (
        pytest.raises(coordination.CoordinationError, match=why) as refused,
        coordination.exclusive(url, "lock", member="one"),
    ):
        pass
    assert "secret" not in str(refused.value)


def test_tooz_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "tooz", None)
    with (
        pytest.raises(coordination.CoordinationError, match="needs the Python package tooz"),
        coordination.exclusive(f"file://{tmp_path}", "lock", member="one"),
    ):
        pass


HOLD = """
import sys, time
from dedangle.state import coordination, lock
try:
    with coordination.exclusive(sys.argv[1], sys.argv[2], member="another"):
        print("held", flush=True)
        time.sleep(float(sys.argv[3]))
except lock.AnotherRunError:
    sys.exit(7)
"""


def another_process(url: str, name: str) -> int:
    """The exit code of a process that wants the lock for a moment."""
    return subprocess.run([sys.executable, "-c", HOLD, url, name, "0"], stdout=subprocess.DEVNULL).returncode


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
