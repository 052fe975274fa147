# SPDX-License-Identifier: Apache-2.0
"""Two nodes of a Galera cluster on 127.0.0.1, made with Debian's packages, one of which can be held back."""

from __future__ import annotations

import contextlib
import getpass
import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from dedangle.lab.client import wait_for
from dedangle.lab.packages import Packages

_PROVIDER = Path("/usr/lib/galera/libgalera_smm.so")
PACKAGES = Packages(("mariadb-server", "galera-4"), ("mariadbd",), (_PROVIDER,))


class Node:
    """One server; its log is beside its data."""

    def __init__(self, path: Path, number: int, ports: list[int], group: str) -> None:
        self.port, own, state = ports
        self._home, self._first = path / f"n{number}", path / f"n{number}.sql"
        self._process: subprocess.Popen[bytes] | None = None
        self._common = ["--no-defaults", f"--datadir={self._home}", f"--user={getpass.getuser()}"]
        options = f"gmcast.listen_addr=tcp://127.0.0.1:{own};ist.recv_addr=127.0.0.1:{state};gcache.size=32M"
        self._options = [
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            f"--socket={path}/n{number}.sock",
            f"--pid-file={path}/n{number}.pid",
            f"--tmpdir={path}",
            f"--log-error={path}/n{number}.err",
            f"--server-id={number}",
            "--skip-name-resolve",
            "--innodb-buffer-pool-size=32M",
            "--innodb-log-file-size=16M",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-autoinc-lock-mode=2",
            "--binlog-format=ROW",
            "--wsrep-on=ON",
            f"--wsrep-provider={_PROVIDER}",
            "--wsrep-cluster-name=dedangle",
            f"--wsrep-cluster-address=gcomm://{group}",
            f"--wsrep-node-address=127.0.0.1:{own}",
            f"--wsrep-node-incoming-address=127.0.0.1:{self.port}",
            f"--wsrep-provider-options={options}",
        ]

    def install(self) -> None:
        """Make a data directory with a user and a database, as the only member of a cluster."""
        install = ["mariadb-install-db", *self._common, "--auth-root-authentication-method=normal"]
        subprocess.run(install, check=True, stdout=subprocess.DEVNULL)
        made = ("CREATE USER lab IDENTIFIED BY 'lab';", "GRANT ALL ON *.* TO lab;", "CREATE DATABASE nova;", "")
        self._first.write_text("\n".join(made))
        self.start("--wsrep-new-cluster", f"--init-file={self._first}")
        self.wait()
        assert self._process is not None
        self._process.terminate()
        self._process.wait()

    def copy(self, other: Node) -> None:
        """Begin with the data of the other node, which was ended in order."""
        shutil.copytree(
            other._home, self._home, ignore=shutil.ignore_patterns("galera.cache", "ibtmp1", "gvwstate.dat")
        )

    def remember(self, own: uuid.UUID, members: list[uuid.UUID]) -> None:
        """Leave what a power cut leaves of a cluster: members that find one another again need nothing sent."""
        view = [f"my_uuid: {own}", "#vwbeg", f"view_id: 3 {members[0]} {len(members)}", "bootstrap: 0"]
        (self._home / "gvwstate.dat").write_text(
            "\n".join([*view, *(f"member: {each} 0" for each in members), "#vwend", ""])
        )

    def start(self, *more: str) -> None:
        command = ["mariadbd", *self._common, *self._options, *more]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def wait(self) -> None:
        """Wait until it is a synchronised member."""
        wait_for("a synchronised node", self._is_synchronised)

    def engine(self) -> sa.Engine:
        return sa.create_engine(f"mysql+pymysql://lab:lab@127.0.0.1:{self.port}/nova?charset=utf8mb4")

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()

    def _is_synchronised(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "the node ended"
        engine = sa.create_engine(f"mysql+pymysql://lab:lab@127.0.0.1:{self.port}/", poolclass=sa.NullPool)
        # It refuses connections until it is up, in a dozen ways.
        with contextlib.suppress(sa.exc.DBAPIError), engine.connect() as connection:
            status = connection.execute(sa.text("SHOW GLOBAL STATUS LIKE 'wsrep_local_state_comment'")).one()
            return bool(status[1] == "Synced")
        return False


@contextlib.contextmanager
def cluster(path: Path) -> Iterator[tuple[Node, Node]]:
    """Two synchronised nodes, and the end of both."""
    ports = [_free_ports(3) for _ in range(2)]
    group = ",".join(f"127.0.0.1:{each[1]}" for each in ports)
    first, second = (Node(path, number, each, group) for number, each in enumerate(ports, 1))
    try:
        first.install()
        second.copy(first)
        members = sorted(uuid.uuid1(node=number) for number in (1, 2))
        for node, own in zip((first, second), members, strict=True):
            node.remember(own, members)
            node.start()
        for node in (first, second):
            node.wait()
        yield first, second
    finally:
        second.stop()
        first.stop()


@contextlib.contextmanager
def held_back(node: Node, writer: sa.Engine) -> Iterator[sa.Connection]:
    """The node applies nothing that the writer orders from now on, until the connection unlocks its tables."""
    engine = node.engine()
    with engine.connect() as connection:
        connection.execute(sa.text("LOCK TABLES brake READ"))
        with writer.begin() as other:
            # What comes first in the order waits for the lock, and the rest waits for its turn.
            other.execute(sa.text("INSERT INTO brake VALUES (NULL)"))
        try:
            yield connection
        finally:
            connection.execute(sa.text("UNLOCK TABLES"))
    engine.dispose()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
