# SPDX-License-Identifier: Apache-2.0
"""Private databases with Nova's and Cinder's own schemas, and a bare C client for each."""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from rows import ident

NAMES = ("nova_api", "nova", "cinder")
# The same rows and columns that the screen reads, as four plain scans.
SCANS = {
    "nova": (
        "SELECT uuid, project_id FROM instances WHERE deleted = 0",
        "SELECT instance_uuid, volume_id, attachment_id FROM block_device_mapping WHERE deleted = 0 "
        "AND destination_type = 'volume' AND volume_id IS NOT NULL",
    ),
    "cinder": (
        "SELECT id, instance_uuid, volume_id, attach_status FROM volume_attachment WHERE deleted = false",
        "SELECT id FROM volumes WHERE deleted = false AND status = 'in-use'",
    ),
}


class MariaDb:
    """Debian's MariaDB with a data directory of its own, on 127.0.0.1."""

    def __init__(self, path: Path, pool: str) -> None:
        self._data, self._first, self._slow = path / "mariadb", path / "first.sql", path / "slow.log"
        self._log = path / "mariadb.log"
        self._port = _free_port()
        self._pool = pool

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        common = ["--no-defaults", f"--datadir={self._data}", f"--user={getpass.getuser()}"]
        install = ["mariadb-install-db", *common, "--auth-root-authentication-method=normal"]
        subprocess.run(install, check=True, stdout=subprocess.DEVNULL)
        made = [f"CREATE DATABASE {name} CHARACTER SET utf8mb4;" for name in NAMES]
        self._first.write_text(
            "\n".join([*made, "CREATE USER bench IDENTIFIED BY 'bench';", "GRANT ALL ON *.* TO bench;", ""])
        )
        with self._log.open("w") as log:
            server = subprocess.Popen(
                [
                    "mariadbd",
                    *common,
                    "--socket=mariadb.sock",
                    f"--port={self._port}",
                    "--bind-address=127.0.0.1",
                    f"--init-file={self._first}",
                    f"--innodb-buffer-pool-size={self._pool}",
                    "--innodb-log-file-size=1G",
                    "--innodb-flush-log-at-trx-commit=0",
                    "--skip-innodb-doublewrite",
                    "--skip-log-bin",
                    "--skip-name-resolve",
                    f"--slow-query-log-file={self._slow}",
                ],
                stdout=log,
                stderr=log,
            )
        try:
            while not _answers(self._port):
                if server.poll() is not None:
                    raise RuntimeError(f"mariadbd ended: {self._log.read_text()[-500:]}")
                time.sleep(0.1)
            yield
        finally:
            server.terminate()
            server.wait()

    def url(self, name: str) -> str:
        return f"mysql+pymysql://bench:bench@127.0.0.1:{self._port}/{name}?charset=utf8mb4"

    def client(self, name: str) -> list[str]:
        """A bare C client that reads the rows of its standard input's statements."""
        reach = ["--no-defaults", "--host=127.0.0.1", f"--port={self._port}", "--user=bench", "--password=bench"]
        return ["mariadb", *reach, "--quick", "--batch", "--skip-column-names", name]

    @contextlib.contextmanager
    def logged(self) -> Iterator[None]:
        """Have each statement of other connections logged, with its time and the rows examined."""
        with connection(self.url("nova")) as control:
            for setting in ("long_query_time = 0", "slow_query_log = 1"):
                control.execute(sa.text(f"SET GLOBAL {setting}"))
            try:
                yield
            finally:
                control.execute(sa.text("SET GLOBAL slow_query_log = 0"))

    def statements(self) -> dict[str, list[tuple[float, int]]]:
        """(seconds, rows examined) of the statements that were logged, by the table they read."""
        found: dict[str, list[tuple[float, int]]] = {}
        seconds, rows = 0.0, 0
        for line in self._slow.read_text().splitlines():
            if line.startswith("# Query_time:"):
                words = line.split()
                seconds, rows = float(words[2]), int(words[words.index("Rows_examined:") + 1])
            for table in ("instances", "block_device_mapping", "volume_attachment", "volumes"):
                if line.startswith(f"FROM {table} ") or line.strip() == f"FROM {table}":
                    found.setdefault(table, []).append((seconds, rows))
        return found


class Sqlite:
    """Files; what reads them is in the process that asks."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        yield

    def url(self, name: str) -> str:
        return f"sqlite:///{self._path / name}.db"

    def client(self, name: str) -> list[str]:
        return ["sqlite3", str(self._path / f"{name}.db")]


def make_schemas(database: MariaDb | Sqlite, path: Path) -> None:
    """Do what an operator does: nova-manage and cinder-manage db sync."""
    for service, names in {"nova": ("nova", "nova_api"), "cinder": ("cinder",)}.items():
        conf = path / f"{service}.conf"
        sections = {"database": names[0], "api_database": names[-1]}
        conf.write_text(
            f"[DEFAULT]\nlog_file = {path}/{service}.log\nstate_path = {path}\n"
            + "".join(f"[{section}]\nconnection = {database.url(name)}\n" for section, name in sections.items())
        )
        steps = (["api_db", "sync"], ["db", "sync", "--local_cell"]) if service == "nova" else (["db", "sync"],)
        for step in steps:
            command = [Path(sys.executable).parent / f"{service}-manage", "--config-file", conf, *step]
            done = subprocess.run(
                command, capture_output=True, text=True, env={**os.environ, "PYTHONWARNINGS": "ignore"}
            )
            if done.returncode:
                raise RuntimeError(f"{service}-manage {' '.join(step)}: {done.stdout}{done.stderr}"[-2000:])


@contextlib.contextmanager
def connection(url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    with engine.connect() as opened:
        if opened.dialect.name == "sqlite":
            opened.connection.create_function("ident", 2, ident, deterministic=True)  # type: ignore[attr-defined]
        yield opened
        opened.commit()


def read_bare(database: MariaDb | Sqlite) -> float:
    """Seconds in which the C client reads the four scans and throws them away."""
    began = time.perf_counter()
    for name, scans in SCANS.items():
        subprocess.run(
            database.client(name), input=";\n".join(scans) + ";\n", text=True, check=True, stdout=subprocess.DEVNULL
        )
    return time.perf_counter() - began


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
