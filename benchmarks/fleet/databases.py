# SPDX-License-Identifier: Apache-2.0
"""Private databases with Nova's and Cinder's own schemas, and a bare C client for each."""

from __future__ import annotations

import contextlib
import getpass
import itertools
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from benchmarks.fleet.rows import ident

NAMES = ("nova_api", "nova", "cinder")
_TABLES = ("instances", "block_device_mapping", "volume_attachment", "volumes")
# The same rows and columns that the screen reads, as four plain scans.
SCANS = {
    "nova": (
        "SELECT uuid FROM instances WHERE deleted = 0",
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

    def __init__(self, path: Path, pool: str, driver: str) -> None:
        self._pid = 0
        self._driver = driver
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
                    f"--tmpdir={self._data}",
                    "--bind-address=127.0.0.1",
                    f"--init-file={self._first}",
                    f"--innodb-buffer-pool-size={self._pool}",
                    "--innodb-log-file-size=4G",
                    "--innodb-flush-log-at-trx-commit=0",
                    "--skip-innodb-doublewrite",
                    "--skip-log-bin",
                    "--skip-name-resolve",
                    f"--slow-query-log-file={self._slow}",
                ],
                stdout=log,
                stderr=log,
            )
        self._pid = server.pid
        with _ended(server, self._port, self._log):
            yield

    def url(self, name: str) -> str:
        return f"mysql+{self._driver}://bench:bench@127.0.0.1:{self._port}/{name}?charset=utf8mb4"

    def client(self, name: str, scans: tuple[str, ...]) -> tuple[list[str], str]:
        """A bare C client, and its standard input, to read the rows of the scans."""
        reach = ["--no-defaults", "--host=127.0.0.1", f"--port={self._port}", "--user=bench", "--password=bench"]
        # Left to itself MariaDB takes an index on `deleted`, and looks every live server up.
        script = _script(scans).replace("FROM instances", "FROM instances FORCE INDEX (instances_uuid_deleted_idx)")
        return ["mariadb", *reach, "--quick", "--batch", "--skip-column-names", name], script

    def cpu(self) -> float:
        """Seconds of CPU that the server has taken so far."""
        return _cpu(self._pid)

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
        for entry in self._slow.read_text().split("# Query_time:")[1:]:
            words = entry.split()
            table = next((name for word, name in itertools.pairwise(words) if word == "FROM" and name in _TABLES), "")
            if table:
                found.setdefault(table, []).append((float(words[0]), int(words[words.index("Rows_examined:") + 1])))
        return found


class PostgreSql:
    """Debian's PostgreSQL with a data directory of its own, on 127.0.0.1; root runs it as the user postgres."""

    def __init__(self, path: Path, pool: str) -> None:
        self._path, self._data, self._log = path, path / "postgresql", path / "postgresql.log"
        self._port = _free_port()
        self._pool = pool

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        self._data.mkdir(mode=0o700)
        user: list[str] = []
        if os.getuid() == 0:
            self._path.chmod(0o711)
            shutil.chown(self._data, "postgres")
            user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
        initdb = [*user, programs / "initdb", "-D", self._data, "-U", "bench", "-A", "trust", "-E", "UTF8"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL)
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self._port,
            "unix_socket_directories": "",
            "shared_buffers": f"{self._pool}B",
            "max_wal_size": "8GB",
            "fsync": "off",
            "autovacuum": "off",
        }
        chosen = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with self._log.open("w") as log:
            server = subprocess.Popen([*user, programs / "postgres", "-D", self._data, *chosen], stdout=log, stderr=log)
        # At SIGTERM it would wait for its clients.
        with _ended(server, self._port, self._log, signal.SIGINT):
            for name in NAMES:
                reach = ["-h", "127.0.0.1", "-p", str(self._port), "-U", "bench"]
                subprocess.run([programs / "createdb", *reach, name], check=True)
            yield

    def gather_statistics(self) -> None:
        """Do what autovacuum does in a real cloud. Without statistics the planner chooses other plans."""
        for name in NAMES:
            engine = sa.create_engine(self.url(name), poolclass=sa.pool.NullPool, isolation_level="AUTOCOMMIT")
            with engine.connect() as opened:
                opened.execute(sa.text("VACUUM ANALYZE"))

    def url(self, name: str) -> str:
        return f"postgresql+psycopg2://bench@127.0.0.1:{self._port}/{name}"

    def client(self, name: str, scans: tuple[str, ...]) -> tuple[list[str], str]:
        url = f"postgresql://bench@127.0.0.1:{self._port}/{name}"
        return ["psql", "-X", "-q", url], "".join(f"\\copy ({each}) TO STDOUT\n" for each in scans)

    def cpu(self) -> float:
        """Seconds of CPU of all connections, after the last one has ended; a process counts when it was waited for."""
        pid = int((self._data / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{pid}/task/{pid}/children")
        while any(map(_is_of_client, children.read_text().split())):
            time.sleep(0.05)
        return _cpu(pid)


class Sqlite:
    """Files; what reads them is in the process that asks."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        yield

    def url(self, name: str) -> str:
        return f"sqlite:///{self._path / name}.db"

    def client(self, name: str, scans: tuple[str, ...]) -> tuple[list[str], str]:
        return ["sqlite3", str(self._path / f"{name}.db")], _script(scans)

    def cpu(self) -> float:
        return 0


Server = MariaDb | PostgreSql | Sqlite


def make_schemas(database: Server, path: Path) -> None:
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


def read_bare(database: Server) -> tuple[float, float]:
    """Seconds, and those of CPU, in which the C client reads the four scans and throws them away."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    for name, scans in SCANS.items():
        command, script = database.client(name, scans)
        subprocess.run(command, input=script, text=True, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _script(scans: tuple[str, ...]) -> str:
    return "".join(f"{each};\n" for each in scans)


@contextlib.contextmanager
def _ended(
    server: subprocess.Popen[bytes], port: int, log: Path, how: signal.Signals = signal.SIGTERM
) -> Iterator[None]:
    """The server answers, and is ended at last."""
    try:
        while not _answers(port):
            if server.poll() is not None:
                raise RuntimeError(f"the server ended: {log.read_text()[-500:]}")
            time.sleep(0.1)
        yield
    finally:
        server.send_signal(how)
        server.wait()


def _is_of_client(pid: str) -> bool:
    """Whether the process of PostgreSQL serves a client of the benchmark, or has just ended."""
    try:
        title = Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False
    return not title or b": bench " in title


def _cpu(pid: int) -> float:
    """Of the process and of its children that have ended (proc(5))."""
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
