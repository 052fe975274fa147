# SPDX-License-Identifier: Apache-2.0
"""The files, ports and addresses of one lab."""

import contextlib
import json
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import sqlalchemy as sa

from dedangle.lab import galera

ADDRESS = "127.0.0.1"
CELLS = {"cell0": "nova_cell0", "cell1": "nova_cell1"}
REGION = "RegionOne"
DATABASES = ("keystone", "placement", "nova_api", *CELLS.values(), "cinder")
API_PATHS = {"keystone": "/v3", "nova": "/v2.1", "cinder": "/v3", "placement": "", "neutron": "", "glance": ""}
PORTS = (*API_PATHS, "mariadb", "rabbitmq", "rabbitmq-dist", "epmd")
GALERA_NODES = 3
CINDER_APIS = ("cinder-api-1", "cinder-api-2")
GALERA_PORTS = (
    *("haproxy", *CINDER_APIS),
    *(f"galera-{node}-{use}" for node in range(1, GALERA_NODES + 1) for use in (*galera.Ports._fields, "check")),
)


class Home:
    """The directory of one lab; `database` is one of TOPOLOGIES: sqlite, mariadb, galera, galera-all."""

    def __init__(self, path: Path, database: str) -> None:
        self.path = path.absolute()
        self.database = database
        self.etc = self.path / "etc"
        self.logs = self.path / "log"
        self.run = self.path / "run"
        self.state = self.path / database
        self.nova_conf = self.etc / "nova" / "nova.conf"
        self.clouds_yaml = self.path / "clouds.yaml"
        self.ports_json = self.path / "ports.json"
        self.built = self.state / "built"

    @property
    def is_sqlite(self) -> bool:
        return self.database == "sqlite"

    @property
    def is_galera(self) -> bool:
        return self.database in ("galera", "galera-all")

    @property
    def is_single_writer(self) -> bool:
        """Whether HAProxy sends everything to one node, and the others are its backups."""
        return self.database == "galera"

    @property
    def node_ports(self) -> list[galera.Ports]:
        """The ports of each node of the Galera cluster; a client goes to port mariadb, which is HAProxy's."""
        ports, nodes = self.ports, range(1, GALERA_NODES + 1)
        return [galera.Ports(*(ports[f"galera-{node}-{use}"] for use in galera.Ports._fields)) for node in nodes]

    @property
    def ports(self) -> dict[str, int]:
        return {str(name): int(port) for name, port in json.loads(self.ports_json.read_text()).items()}

    def url(self, api: str) -> str:
        return f"http://{ADDRESS}:{self.ports[api]}{API_PATHS[api]}"

    def database_file(self, name: str) -> Path:
        return self.state / "db" / f"{name}.db"

    def database_url(self, name: str) -> str:
        if not self.is_sqlite:
            return f"mysql+pymysql://lab:lab@{ADDRESS}:{self.ports['mariadb']}/{name}?charset=utf8mb4"
        return f"sqlite:///{self.database_file(name)}?timeout=60"

    @contextlib.contextmanager
    def connect(self, database: str) -> Iterator[sa.Connection]:
        """Open a separate transaction in a database of the lab."""
        engine = sa.create_engine(self.database_url(database), poolclass=sa.NullPool)
        with engine.begin() as connection:
            yield connection

    @property
    def transport_url(self) -> str:
        """Where RPC goes: `fake:///` is oslo.messaging's in-process exchange, so it never leaves a process."""
        if not self.is_sqlite:
            return f"rabbit://guest:guest@{ADDRESS}:{self.ports['rabbitmq']}/"
        return "fake:///"

    def keep_or_choose_ports(self) -> None:
        """Keep the ports of the last start if all of them are still free, so that a restart changes no address."""
        kept = self.ports if self.ports_json.exists() else {}
        names = (*PORTS, *(GALERA_PORTS if self.is_galera else ()))
        if kept.keys() != set(names) or not _all_free(list(kept.values())):
            self.ports_json.write_text(json.dumps(dict(zip(names, _free_ports(len(names)), strict=True)), indent=1))


def _all_free(ports: Sequence[int]) -> bool:
    try:
        _bind_all(ports)
    except OSError:
        return False
    return True


def _free_ports(count: int) -> list[int]:
    return _bind_all([0] * count)


def _bind_all(ports: Sequence[int]) -> list[int]:
    # All are held at once: the kernel may hand a port that was just closed out again.
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in ports]
        for bound, port in zip(sockets, ports, strict=True):
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((ADDRESS, port))
        return [int(bound.getsockname()[1]) for bound in sockets]
