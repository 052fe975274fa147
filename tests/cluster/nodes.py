# SPDX-License-Identifier: Apache-2.0
"""The nodes of a lab's cluster, one by one, and the proxy before them."""

from __future__ import annotations

import contextlib
import csv
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pymysql
import sqlalchemy as sa

from dedangle.lab import galera
from dedangle.lab.client import wait_for
from dedangle.lab.cloud import Cloud
from dedangle.lab.home import ADDRESS, CELLS, GALERA_NODES

NUMBERS = range(1, GALERA_NODES + 1)
PATIENCE = 90


@dataclass(frozen=True)
class Cluster:
    cloud: Cloud

    def node(self, number: int) -> galera.Node:
        return galera.Node(self.cloud.home.state / "galera", number, self.cloud.home.node_ports)

    def engine(self, number: int, database: str = "nova_cell1") -> sa.Engine:
        """Reach one node past the proxy."""
        return sa.create_engine(self.node(number).url(database), poolclass=sa.NullPool)

    def kill(self, number: int) -> None:
        self.cloud.kill(f"galera-{number}")

    def freeze(self, number: int) -> None:
        self.cloud.freeze(f"galera-{number}")

    def thaw(self, number: int) -> None:
        self.cloud.thaw(f"galera-{number}")

    def take_out(self, number: int) -> None:
        """Let the proxy send nobody to the node, and close the sessions that it has."""
        self._tell(f"set server mariadb/n{number} state maint")
        self.close_sessions(number)

    def close_sessions(self, number: int) -> None:
        """Close the proxy's sessions with the node. After a failover the services' pools keep some with a backup."""
        self._tell(f"shutdown sessions server mariadb/n{number}")

    def put_back(self, number: int) -> None:
        self._tell(f"set server mariadb/n{number} state ready")

    def states(self) -> dict[str, str]:
        """What the proxy thinks of each node: UP, DOWN, MAINT."""
        rows = csv.DictReader(self._tell("show stat").lstrip("# ").splitlines())
        return {row["svname"]: row["status"] for row in rows if row["pxname"] == "mariadb" and row["svname"][0] == "n"}

    def prepare(self) -> None:
        """Make a table of the tests' own, and let each client find the cells through its own nova.conf."""
        self._write("CREATE TABLE IF NOT EXISTS brake (id INT AUTO_INCREMENT PRIMARY KEY)")
        with self.cloud.home.connect("nova_api") as nova_api:
            for cell, database in CELLS.items():
                url = f"{{scheme}}://{{username}}:{{password}}@{{hostname}}:{{port}}/{database}?{{query}}"
                nova_api.execute(
                    sa.text("UPDATE cell_mappings SET database_connection = :url WHERE name = :cell"),
                    {"url": url, "cell": cell},
                )

    @contextlib.contextmanager
    def held_back(self, number: int) -> Iterator[None]:
        """Let the node apply nothing that the others order meanwhile, and the others go on without it."""
        with self.engine(number).connect() as connection:
            # A service that writes through this node would hang.
            self.close_sessions(number)
            # The others stop once so many writes wait on one node.
            connection.execute(sa.text("SET GLOBAL wsrep_provider_options = 'gcs.fc_limit=100000'"))
            connection.execute(sa.text("LOCK TABLES keystone.brake READ"))
            self._write("INSERT INTO brake VALUES (NULL)")
            try:
                yield
            finally:
                connection.execute(sa.text("UNLOCK TABLES"))

    def past_the_proxy(self, number: int) -> str:
        """Return what to add to nova.conf so that a command reads Nova's databases from one node."""
        return "".join(
            f"[{group}]\nconnection = {self.node(number).url(database)}\n"
            for group, database in (("api_database", "nova_api"), ("database", "nova_cell1"))
        )

    def takes_writes(self) -> bool:
        """Whether a client of the proxy can write: for some seconds after a node has died nobody can."""
        try:
            self._write("INSERT INTO brake VALUES (NULL)")
        except sa.exc.DBAPIError:
            return False
        return True

    def fail_over(self, number: int) -> None:
        """Kill the node, and wait until the proxy has found another."""
        self.kill(number)
        wait_for("the proxy lets the node go", lambda: self.states()[f"n{number}"] == "DOWN", PATIENCE)
        wait_for("the others take writes", self.takes_writes, PATIENCE)

    def make_whole(self) -> None:
        """Bring every node back, and wait until the proxy uses it."""
        for number in NUMBERS:
            self.thaw(number)
            self.put_back(number)
        self._recover_quorum()
        for number in NUMBERS:
            if not self.cloud.is_running(f"galera-{number}"):
                self.cloud.start(f"galera-{number}")
        wait_for("every node is in the same cluster", self._is_one_cluster, PATIENCE)
        wait_for("every node is in use", lambda: set(self.states().values()) == {"UP"}, PATIENCE)
        wait_for("they take writes", self.takes_writes, PATIENCE)

    def _write(self, statement: str) -> None:
        with self.cloud.home.connect("keystone") as connection:
            connection.execute(sa.text(statement))

    def _is_one_cluster(self) -> bool:
        """Whether all nodes agree who is in the cluster; one that was frozen takes itself for a member for a while."""
        views = {self.node(number).status("wsrep_cluster_conf_id") for number in NUMBERS}
        return len(views) == 1 and all(self.node(number).is_synchronised() for number in NUMBERS)

    def _recover_quorum(self) -> None:
        """Make the one node that is left a cluster, if the others were killed: it cannot tell that from a split."""
        running = [number for number in NUMBERS if self.cloud.is_running(f"galera-{number}")]
        if len(running) == 1 and self.node(running[0]).status("wsrep_ready") != "ON":
            # SQLAlchemy asks a few questions of its own as it connects, which such a node refuses.
            port = self.node(running[0]).port
            with pymysql.connect(host=ADDRESS, port=port, user="lab", password="lab") as connection:
                connection.cursor().execute("SET GLOBAL wsrep_provider_options = 'pc.bootstrap=YES'")

    def _tell(self, command: str) -> str:
        with socket.create_connection((ADDRESS, self.cloud.ports["haproxy"]), timeout=10) as proxy:
            proxy.sendall(f"{command}\n".encode())
            with proxy.makefile() as answer:
                return answer.read()
