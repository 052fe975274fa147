# SPDX-License-Identifier: Apache-2.0
"""A fleet of hosts on a real RabbitMQ, asked by bare calls and compared by an audit, in turns."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from benchmarks.fleet.databases import MariaDb, _answers, connection, make_schemas
from benchmarks.fleet.rows import fill

from dedangle.core.run import Run
from dedangle.lab.home import Home
from dedangle.lab.services import ground
from dedangle.reconcile import hosts as reconcile_hosts
from dedangle.reconcile.hosts import Witnesses
from dedangle.systems.nova.cells import Cell
from dedangle.systems.nova.database import NovaDatabase
from dedangle.systems.nova.rpc import NovaRpc

# Of each host: ten servers with two volumes each.
_PAIRS = 20


def measure(hosts: int, processes: int, rounds: int) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as running:
        path = Path(directory)
        database = MariaDb(path, "256M", "pymysql")
        running.enter_context(database.running())
        url = running.enter_context(_rabbitmq(path / "bus"))
        make_schemas(database, path)
        fleet = _fill(database, hosts)
        _serve(running, path, url, fleet, processes)
        servers = sum(map(len, fleet.values()))
        yield f"{hosts} hosts in {processes} processes, {servers} guests with 2 disks each"
        yield from _compare(database, url, list(fleet), rounds)


def _compare(database: MariaDb, url: str, names: list[str], rounds: int) -> Iterator[str]:
    with _transport(url) as transport:
        yield from _rounds(database, NovaRpc(60, lambda _: transport), names, rounds)


def _rounds(database: MariaDb, rpc: NovaRpc, names: list[str], rounds: int) -> Iterator[str]:
    witnesses = Witnesses(nova=_nova(database), cinder=_Unasked(), hosts=rpc, progress=lambda *_: None)
    bare, ours = list[float](), list[float]()

    def calls_alone() -> None:
        with ThreadPool(reconcile_hosts._AT_ONCE) as pool:
            pool.map(lambda host: _ask(rpc, host), names)

    def asked_and_compared() -> None:
        run = Run(run_id="bench")
        witnesses.compare(witnesses.ask(names, run), run, lambda _: True)
        if run.not_checked or run.findings:
            raise RuntimeError(f"{run.not_checked[:3]} {list(run.findings.values())[:1]}")

    for number in range(rounds + 1):
        turns = [(calls_alone, bare), (asked_and_compared, ours)]
        # Each goes first in every other round, because the bus is slower right after the other one.
        for turn, seconds in turns if number % 2 else reversed(turns):
            began = time.perf_counter()
            turn()
            seconds.append(time.perf_counter() - began)
    # The first round opens the connections and is not counted.
    ratios = [one / base for one, base in zip(ours[1:], bare[1:], strict=True)]
    yield f"  calls alone: {statistics.median(bare[1:]):.2f} s; asked and compared: {statistics.median(ours[1:]):.2f} s"
    yield f"  ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f} in {rounds} rounds)"


def _ask(rpc: NovaRpc, host: str) -> None:
    """Make the calls of an audit, and throw the answers away."""
    rpc._call(host, "guests", after="", only=None)
    rpc._call(host, "unused_connections")


class _Unasked:
    """Cinder, which nobody asks about a fleet without findings."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"Cinder was asked: {name}")


@contextlib.contextmanager
def _transport(url: str) -> Iterator[Any]:
    import oslo_messaging as messaging
    from nova import conf, objects, rpc

    objects.register_all()
    conf.CONF([], project="nova", default_config_files=[])
    rpc.set_defaults(control_exchange="nova")
    transport = messaging.get_rpc_transport(conf.CONF, url=url)
    try:
        yield transport
    finally:
        transport.cleanup()


def _nova(database: MariaDb) -> NovaDatabase:
    def cell(name: str, label: str) -> Cell:
        engine = sa.create_engine(database.url(name))
        return Cell(label, lambda: engine, 60, label, 1)

    return NovaDatabase(
        cell("nova_api", "API"),
        (cell("nova", "cell1"),),
        actions=None,  # type: ignore[arg-type]
        service_down_time=timedelta(seconds=60),
        clock=lambda: None,  # type: ignore[arg-type, return-value]
    )


def _fill(database: MariaDb, hosts: int) -> dict[str, dict[str, list[str]]]:
    """Make servers and volumes, each server on a host; return the volumes by host and server."""
    with connection(database.url("nova")) as nova, connection(database.url("cinder")) as cinder:
        fill(nova, cinder, hosts * _PAIRS, 1)
        nova.execute(
            sa.text(f"UPDATE instances SET host = CONCAT('host-', FLOOR(id / 4) % {hosts}), task_state = NULL")
        )
        rows = nova.execute(
            sa.text(
                "SELECT i.host, i.uuid, b.volume_id FROM instances i JOIN block_device_mapping b "
                "ON b.instance_uuid = i.uuid WHERE i.deleted = 0 AND b.deleted = 0"
            )
        )
        fleet: dict[str, dict[str, list[str]]] = {}
        for host, server, volume in rows:
            fleet.setdefault(host, {}).setdefault(server, []).append(volume)
    return fleet


def _serve(
    running: contextlib.ExitStack, path: Path, url: str, fleet: dict[str, dict[str, list[str]]], processes: int
) -> None:
    names = sorted(fleet)
    for number in range(processes):
        part = path / f"hosts-{number}.json"
        part.write_text(json.dumps({host: fleet[host] for host in names[number::processes]}))
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.hosts.serve", url, str(part)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        running.callback(process.wait)
        running.callback(process.kill)
        if process.stdout is None or process.stdout.readline().strip() != "ready":
            raise RuntimeError("a process of the fleet ended")


@contextlib.contextmanager
def _rabbitmq(path: Path) -> Iterator[str]:
    home = Home(path, "mariadb")
    for directory in (home.path, home.state, home.logs, home.run):
        directory.mkdir(parents=True, exist_ok=True)
    home.keep_or_choose_ports()
    with contextlib.ExitStack() as running:
        for name in ("epmd", "rabbitmq"):
            with (home.logs / f"{name}.out").open("w") as log:
                process = subprocess.Popen(ground.COMMANDS[name](home), stdout=log, stderr=log, start_new_session=True)
            running.callback(process.wait)
            running.callback(process.terminate)
            while not _answers(home.ports[name]):
                if process.poll() is not None:
                    raise RuntimeError((home.logs / f"{name}.out").read_text()[-500:])
                time.sleep(0.2)
        yield home.transport_url
