# SPDX-License-Identifier: Apache-2.0
"""Nodes of a Galera cluster on the loopback address, made with Debian's packages."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from dedangle.lab.errors import LabError

ADDRESS = "127.0.0.1"
PROVIDER = Path("/usr/lib/galera/libgalera_smm.so")
# Data files, caches and the view of a running server, which a copy must not take over.
_NOT_COPIED = ("galera.cache", "ibtmp1", "gvwstate.dat")

# Debian's script, with one change: root's rsync daemon would become nobody, who cannot write into a lab in root's home.
_METHOD = "lab"
_SCRIPTS = Path("/usr/bin")
_AS_ROOT = ("use chroot = no", f"use chroot = no\nuid = {os.geteuid()}\ngid = {os.getegid()}")


class Ports(NamedTuple):
    """Where one node listens: for clients, for the group, and for the two ways to bring a node up to date."""

    sql: int
    group: int
    ist: int
    sst: int


class Node:
    """Node `number`, counted from 1, of a cluster whose nodes have the ports; all of them live below `path`."""

    def __init__(self, path: Path, number: int, ports: Sequence[Ports]) -> None:
        own = ports[number - 1]
        self.port = own.sql
        self.data = path / f"n{number}"
        self.log = path / f"n{number}.err"
        # A server that starts deletes every temporary table in the folder.
        self._temporary = path / f"n{number}.tmp"
        self._common = ["--no-defaults", f"--datadir={self.data}", f"--user={getpass.getuser()}"]
        provider = {
            "gmcast.listen_addr": f"tcp://{ADDRESS}:{own.group}",
            "ist.recv_addr": f"{ADDRESS}:{own.ist}",
            "gcache.size": "32M",
        }
        self._options = [
            f"--port={own.sql}",
            f"--bind-address={ADDRESS}",
            # Below the data: a whole path may be longer than a socket's name can be.
            "--socket=node.sock",
            "--pid-file=node.pid",
            f"--tmpdir={self._temporary}",
            f"--server-id={number}",
            "--skip-name-resolve",
            "--performance-schema=OFF",
            "--max-connections=400",
            "--innodb-buffer-pool-size=32M",
            "--innodb-log-file-size=16M",
            "--innodb-flush-log-at-trx-commit=0",
            # See services/ground.py.
            "--loose-innodb-snapshot-isolation=OFF",
            "--innodb-autoinc-lock-mode=2",
            "--binlog-format=ROW",
            "--wsrep-on=ON",
            f"--wsrep-provider={PROVIDER}",
            f"--wsrep-cluster-name=dedangle-{ports[0].group}",
            f"--wsrep-cluster-address=gcomm://{','.join(f'{ADDRESS}:{each.group}' for each in ports)}",
            f"--wsrep-node-name=n{number}",
            f"--wsrep-node-address={ADDRESS}:{own.group}",
            f"--wsrep-node-incoming-address={ADDRESS}:{own.sql}",
            f"--wsrep-sst-method={_METHOD}",
            f"--wsrep-sst-receive-address={ADDRESS}:{own.sst}",
            f"--wsrep-provider-options={';'.join(f'{name}={value}' for name, value in provider.items())}",
        ]

    def install(self) -> None:
        install = ["mariadb-install-db", *self._common, "--auth-root-authentication-method=normal"]
        subprocess.run(install, check=True, stdout=subprocess.DEVNULL)

    def copy(self, other: Node) -> None:
        """Start with a copy of the data of another node, which was stopped in order."""
        shutil.copytree(other.data, self.data, ignore=shutil.ignore_patterns(*_NOT_COPIED))

    def remember(self, own: uuid.UUID, members: Sequence[uuid.UUID]) -> None:
        """Leave the files as a power cut does; members that find one another again then need no transfer of data."""
        view = [f"my_uuid: {own}", "#vwbeg", f"view_id: 3 {members[0]} {len(members)}", "bootstrap: 0"]
        lines = [*view, *(f"member: {each} 0" for each in members), "#vwend", ""]
        (self.data / "gvwstate.dat").write_text("\n".join(lines))

    def command(self, *more: str) -> list[str]:
        """Return the command line of its server, and make the folder of its temporary tables."""
        self._temporary.mkdir(exist_ok=True)
        return ["mariadbd", *self._common, *self._options, f"--log-error={self.log}", *more]

    def environment(self) -> dict[str, str]:
        """Return the environment of its process, and write the scripts that transfer data."""
        programs = self.data.with_suffix(".bin")
        script, common = programs / f"wsrep_sst_{_METHOD}", programs / "wsrep_sst_common"
        programs.mkdir(exist_ok=True)
        script.write_text((_SCRIPTS / "wsrep_sst_rsync").read_text().replace(*_AS_ROOT))
        script.chmod(0o755)
        if not common.exists():
            common.symlink_to(_SCRIPTS / common.name)
        return {**os.environ, "PATH": f"{programs}:{os.environ.get('PATH', os.defpath)}"}

    def start_options(self) -> list[str]:
        """Return what a node needs that starts once more: the last one that ended in order begins the cluster.

        After SIGKILL a node does not remember its position, and without one it asks for all of the data.
        """
        state = (self.data / "grastate.dat").read_text().split()
        if state[state.index("safe_to_bootstrap:") + 1] == "1":
            return ["--wsrep-new-cluster"]
        if state[state.index("seqno:") + 1] != "-1":
            return []
        recovered = self.data / "recovered.err"
        recovered.unlink(missing_ok=True)
        recover = self.command(f"--log-error={recovered}", "--wsrep-recover")
        subprocess.run(recover, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, found, position = recovered.read_text().rpartition("Recovered position:")
        position = position.split()[0] if found else ":-1"
        return [] if position.endswith(":-1") else [f"--wsrep-start-position={position}"]

    def is_synchronised(self) -> bool:
        """Whether it is a member of the cluster and has applied everything."""
        return self.status("wsrep_local_state_comment") == "Synced" and self.status("wsrep_ready") == "ON"

    def status(self, name: str) -> str:
        """Return a status variable; empty where the node does not answer."""
        # It refuses connections until it is up, in a dozen ways.
        with contextlib.suppress(sa.exc.DBAPIError):
            timeouts = {"connect_timeout": 2, "read_timeout": 2}
            engine = sa.create_engine(self.url(""), poolclass=sa.NullPool, connect_args=timeouts)
            with engine.connect() as connection:
                row = connection.execute(sa.text(f"SHOW GLOBAL STATUS LIKE '{name}'")).first()
                return str(row[1]) if row else ""
        return ""

    def url(self, database: str) -> str:
        return f"mysql+pymysql://lab:lab@{ADDRESS}:{self.port}/{database}?charset=utf8mb4"


def seed(nodes: Sequence[Node], databases: Sequence[str]) -> None:
    """Make the data of all nodes, with the user lab and the databases, so that they form a cluster when they start."""
    first, *others = nodes
    first.install()
    statements = first.data.parent / "first.sql"
    made = [f"CREATE DATABASE {name} CHARACTER SET utf8mb4;" for name in databases]
    statements.write_text("\n".join(["CREATE USER lab IDENTIFIED BY 'lab';", "GRANT ALL ON *.* TO lab;", *made, ""]))
    with subprocess.Popen(
        first.command("--wsrep-new-cluster", f"--init-file={statements}"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        while not first.is_synchronised():
            if process.poll() is not None:
                raise LabError(f"The first node of the cluster did not start; see {first.log}")
            time.sleep(0.05)
        process.terminate()
    members = sorted(uuid.uuid1(node=number) for number in range(1, len(nodes) + 1))
    for other in others:
        other.copy(first)
    for node, own in zip(nodes, members, strict=True):
        node.remember(own, members)
        # The first one ended last, and would begin a cluster of its own.
        state = node.data / "grastate.dat"
        state.write_text(state.read_text().replace("safe_to_bootstrap: 1", "safe_to_bootstrap: 0"))
