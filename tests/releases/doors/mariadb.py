# SPDX-License-Identifier: Apache-2.0
"""A private MariaDB of Debian's, on 127.0.0.1."""

import contextlib
import getpass
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

DEADLINE = 60.0


@contextlib.contextmanager
def running(path: Path, names: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """The URLs of empty databases of the names."""
    if not shutil.which("mariadbd"):
        pytest.skip("there is no mariadbd; as root: apt-get install mariadb-server")
    data, first, port = path / "mariadb", path / "first.sql", _free_port()
    common = ["--no-defaults", f"--datadir={data}", f"--user={getpass.getuser()}"]
    install = ["mariadb-install-db", *common, "--auth-root-authentication-method=normal"]
    subprocess.run(install, check=True, stdout=subprocess.DEVNULL)
    made = [f"CREATE DATABASE {name} CHARACTER SET utf8mb4;" for name in names]
    first.write_text("\n".join([*made, "CREATE USER test IDENTIFIED BY 'test';", "GRANT ALL ON *.* TO test;", ""]))
    reached = ["--socket=mariadb.sock", f"--port={port}", "--bind-address=127.0.0.1", f"--init-file={first}"]
    quick = ["--innodb-flush-log-at-trx-commit=0", "--skip-log-bin", "--skip-name-resolve", "--performance-schema=OFF"]
    with (path / "mariadb.log").open("w") as log:
        server = subprocess.Popen(["mariadbd", *common, *reached, *quick], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + DEADLINE
        while not _answers(port):
            assert server.poll() is None, (path / "mariadb.log").read_text()[-2000:]
            assert time.monotonic() < deadline, f"MariaDB does not answer after {DEADLINE:g} s"
            time.sleep(0.05)
        yield {name: f"mysql+pymysql://test:test@127.0.0.1:{port}/{name}?charset=utf8mb4" for name in names}
    finally:
        server.terminate()
        server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
