# SPDX-License-Identifier: Apache-2.0
"""HAProxy before the Galera nodes and Cinder's APIs, and the HTTP check of each node that clustercheck is elsewhere."""

import contextlib
import http.server
import socket
import subprocess
import threading

import sqlalchemy as sa

from dedangle.lab import galera
from dedangle.lab.home import ADDRESS, CINDER_APIS, Home
from dedangle.lab.services.program import Program, run


def configuration(home: Home) -> str:
    """Return what deployers write: one node or each is active, and the sessions of a node that goes down are closed."""
    ports = home.ports
    lines = [
        "global",
        "    maxconn 2000",
        f"    stats socket ipv4@{ADDRESS}:{ports['haproxy']} level admin",
        "defaults",
        "    mode tcp",
        "    retries 3",
        "    timeout connect 10s",
        "    timeout client 3600s",
        "    timeout server 3600s",
        "    timeout check 2s",
        "listen mariadb",
        f"    bind {ADDRESS}:{ports['mariadb']}",
        f"    balance {'leastconn' if home.is_single_writer else 'roundrobin'}",
        "    option httpchk HEAD /",
        "    default-server inter 1s fall 2 rise 2 on-marked-down shutdown-sessions",
    ]
    for number, node in enumerate(home.node_ports, 1):
        backup = " backup" if home.is_single_writer and number > 1 else ""
        check = ports[f"galera-{number}-check"]
        lines.append(f"    server n{number} {ADDRESS}:{node.sql} check port {check}{backup}")
    lines += ["listen cinder", f"    bind {ADDRESS}:{ports['cinder']}", "    mode http", "    balance roundrobin"]
    lines += [f"    server {api} {ADDRESS}:{ports[api]} check inter 1s" for api in CINDER_APIS]
    return "\n".join([*lines, ""])


class Check(http.server.BaseHTTPRequestHandler):
    """200 where the node is synchronised and takes writes, else 503."""

    node: galera.Node

    def do_HEAD(self) -> None:
        self.send_response(200 if self.node.status("wsrep_local_state_comment") == "Synced" else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep no log: each node is asked every second."""


class Checks(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """HAProxy closes the connection as soon as it has the status."""


def answer_checks(home: Home) -> None:
    ports = home.node_ports
    for number in range(1, len(ports) + 1):
        node = galera.Node(home.state / "galera", number, ports)
        check = type(f"Check{number}", (Check,), {"node": node})
        server = Checks((ADDRESS, home.ports[f"galera-{number}-check"]), check)
        threading.Thread(target=server.serve_forever, daemon=True).start()


def has_a_node(home: Home) -> bool:
    engine = sa.create_engine(home.database_url("keystone"), poolclass=sa.NullPool)
    with contextlib.suppress(sa.exc.DBAPIError, socket.timeout), engine.connect() as connection:
        return bool(connection.execute(sa.text("SHOW STATUS LIKE 'wsrep_ready'")).one()[1] == "ON")
    return False


def main() -> None:
    program = Program()
    home = program.home
    path = home.etc / "haproxy.cfg"
    path.write_text(configuration(home))
    answer_checks(home)
    child = subprocess.Popen(["haproxy", "-db", "-f", str(path)])
    program.attend(child, lambda: has_a_node(home))


if __name__ == "__main__":
    run(main)
