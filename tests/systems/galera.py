# SPDX-License-Identifier: Apache-2.0
"""Two nodes of a Galera cluster with an empty database `nova`, one of which can be held back."""

from __future__ import annotations

import contextlib
import itertools
import socket
import subprocess
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import sqlalchemy as sa

from dedangle.lab import galera
from dedangle.lab.client import wait_for
from dedangle.systems.nova import schema
from dedangle.systems.nova.actions import InstanceActions
from dedangle.systems.nova.cells import Cell
from dedangle.systems.nova.database import NovaDatabase

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=timezone.utc)
BEHIND = 1.0
_numbers = itertools.count(1)


class Node:
    """One server; its log is beside its data."""

    def __init__(self, node: galera.Node) -> None:
        self._node = node
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command, environment = self._node.command(), self._node.environment()
        self._process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def wait(self) -> None:
        wait_for("a synchronised node", self._is_synchronised)

    def engine(self) -> sa.Engine:
        return sa.create_engine(self._node.url("nova"))

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()

    def _is_synchronised(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "the node ended"
        return self._node.is_synchronised()


@contextlib.contextmanager
def cluster(path: Path) -> Iterator[tuple[Node, Node]]:
    """Two synchronised nodes, and the end of both."""
    ports = [galera.Ports(*_free_ports(len(galera.Ports._fields))) for _ in range(2)]
    made = [galera.Node(path, number, ports) for number in (1, 2)]
    first, second = (Node(each) for each in made)
    galera.seed(made, ["nova"])
    try:
        for node in (first, second):
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


def release_later(brake: sa.Connection) -> threading.Timer:
    timer = threading.Timer(BEHIND, lambda: brake.execute(sa.text("UNLOCK TABLES")))
    timer.start()
    return timer


def make_tables(engine: sa.Engine) -> None:
    """The tables of a cell as far as dedangle reads them, with texts as long as MariaDB wants them told."""
    metadata = sa.MetaData()
    for table in schema.block_device_mapping.metadata.tables.values():
        columns = [
            sa.Column(
                each.name,
                sa.String(255) if type(each.type) is sa.String else each.type,
                primary_key=each.primary_key,
                autoincrement=True,
            )
            for each in table.columns
        ]
        sa.Table(table.name, metadata, *columns)
    metadata.create_all(engine)


def add_server(engine: sa.Engine, server_id: str) -> None:
    """A running server with two mappings."""
    with engine.begin() as connection:
        server = {"uuid": server_id, "vm_state": "active", "power_state": 1, "host": "h", "deleted": 0}
        connection.execute(schema.instances.insert().values(**server))
        for _ in range(2):
            number = next(_numbers)
            row = {"id": number, "uuid": f"b{number}", "volume_id": f"v{number}", "attachment_id": f"a{number}"}
            place = {"instance_uuid": server_id, "destination_type": "volume", "deleted": 0}
            connection.execute(schema.block_device_mapping.insert().values(**row, **place))


def nova(engine: sa.Engine, timeout: float = 60) -> NovaDatabase:
    cell = Cell("Nova's cell1", lambda: engine, timeout, "cell1")
    actions = InstanceActions([cell], run_id="run", clock=_clock)
    return NovaDatabase(cell, [cell], actions=actions, service_down_time=timedelta(minutes=1), clock=_clock)


def _clock() -> datetime:
    return NOW


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
