# SPDX-License-Identifier: Apache-2.0
"""A lab in any directory: start it, use it, break it, and stop it without leaving anything behind."""

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

import sqlalchemy as sa

from dedangle.lab import access, config, packages, sqlite
from dedangle.lab.client import Client
from dedangle.lab.errors import AlreadyUpError, DeadlineError
from dedangle.lab.faults import Faults
from dedangle.lab.home import CELLS, DATABASES, Home
from dedangle.lab.processes import Process
from dedangle.lab.topology import TOPOLOGIES, Service
from dedangle.lab.turns import alone_with

MANAGER = "dedangle.compute.manager.ComputeManager"
START_DEADLINE = 180.0


class Cloud:
    """A lab in `home`, which keeps its state and its ports from one `up` to the next.

    It ends with the process that brought it up, unless `keep` is true. Several `hosts` share the process of SQLite's
    lab and want `fake.FakeDriver`: the driver of one host takes its node's identity from a file.
    """

    def __init__(
        self,
        home: Path,
        *,
        manager: str = MANAGER,
        database: str = "sqlite",
        nova_overrides: config.Sections | None = None,
        cinder_overrides: config.Sections | None = None,
        hosts: int = 1,
        keep: bool = False,
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.home = Home(home, database)
        self.manager = manager
        self.nova_overrides = nova_overrides or {}
        self.cinder_overrides = cinder_overrides or {}
        self._topology = TOPOLOGIES[database]
        self.hosts = max(hosts, self._topology.hosts)
        self.keep = keep
        self.faults = Faults(self.home.run)
        self._progress = progress
        self._services = {service.name: service for service in self._topology.services}
        self._processes = {name: Process(name, self.home) for name in self._services}
        self._clients: dict[str, Client] = {}

    def __enter__(self) -> "Cloud":
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.down()

    def up(self) -> None:
        """Start everything; in a new home the databases are made first, by the services' own migrations."""
        if self.is_up():
            raise AlreadyUpError(f"The lab in {self.home.path} is up already.")
        began = time.monotonic()
        for directory in (self.home.path, self.home.logs, self.home.run):
            directory.mkdir(parents=True, exist_ok=True)
        self.faults.clear()
        self._clients.clear()
        if self._topology.packages:
            with self._step("packages are there"):
                packages.ensure_installed(self._topology.packages)
        # Until a lab listens on the ports that it has chosen, another one might choose them, too.
        with alone_with(Path(tempfile.gettempdir())), ExitStack() as on_failure:
            self.home.keep_or_choose_ports()
            config.write(self.home, self.nova_overrides, self.cinder_overrides)
            on_failure.callback(self.down)
            build = not self.home.built.exists()
            if build:
                self._make_state()
            for host in config.COMPUTE_HOSTS[1 : self._topology.hosts]:
                config.write_host(self.home, host)
            self._start_stage(self._topology.ground)
            if not build:
                self._readdress()
            for stage in self._topology.stages:
                self._start_stage(stage, *(["--build"] if build else []))
            self.home.built.touch()
            on_failure.pop_all()
        self._progress(f"The lab is up ({time.monotonic() - began:.1f} s).")

    def down(self) -> None:
        """Stop everything that runs; the state stays for the next `up`."""
        for process in reversed(self._processes.values()):
            process.stop()

    def is_up(self) -> bool:
        return any(process.is_running() for process in self._processes.values())

    def is_running(self, service: str) -> bool:
        return self._processes[service].is_running()

    def start(self, service: str) -> None:
        with self._step(f"{service} is up"):
            self._launch(service)
            self._wait_ready(service)

    def stop(self, service: str) -> None:
        self._processes[service].stop()

    def kill(self, service: str) -> None:
        """Kill a service with SIGKILL, as a crash would."""
        self._processes[service].stop(signal.SIGKILL)

    def freeze(self, service: str) -> None:
        """Stop a service with SIGSTOP until it is thawed or killed; a machine that hangs looks the same."""
        self._processes[service].send(signal.SIGSTOP)

    def thaw(self, service: str) -> None:
        self._processes[service].send(signal.SIGCONT)

    def restart(self, service: str) -> None:
        self.stop(service)
        self.start(service)

    def add_host(self, host: str, own: config.Sections | None = None) -> None:
        """Start nova-compute of one more host, where the message bus leaves a process; it ends with the lab.

        It is started, stopped and killed by the host's name; own are options that it has beside those of nova.conf.
        """
        config.write_host(self.home, host, own)
        self._services[host] = Service(host, "nova_compute", (host,))
        self._processes[host] = Process(host, self.home)
        self.start(host)
        # As nova-manage cell_v2 discover_hosts does: until then the scheduler does not take it.
        with self.home.connect("nova_api") as nova_api:
            cell1 = "SELECT :host, id FROM cell_mappings WHERE name = 'cell1'"
            nova_api.execute(sa.text(f"INSERT INTO host_mappings (host, cell_id) {cell1}"), {"host": host})

    @property
    def ports(self) -> dict[str, int]:
        return self.home.ports

    @property
    def nova_conf(self) -> Path:
        return self.home.nova_conf

    @property
    def clouds_yaml(self) -> Path:
        return self.home.clouds_yaml

    @property
    def logs(self) -> Path:
        return self.home.logs

    @property
    def admin(self) -> Client:
        return self._client("admin", config.ADMIN_PASSWORD, "admin")

    @property
    def nova_user(self) -> Client:
        """Nova's own user, which speaks to Cinder with a service token."""
        return self._client("nova", config.SERVICE_PASSWORD, "service", service_token=True)

    def user(self, project: str) -> Client:
        return self._client(f"user-{project}", config.USER_PASSWORD, project)

    def access_log(self, api: str) -> Path:
        return self.home.logs / f"{api}.access.json"

    def access(self, api: str, since: float = 0) -> list[access.Access]:
        """Return the requests that an API got at `since` (seconds of time.time()) or later."""
        return access.read(self.access_log(api), since)

    def _client(self, user: str, password: str, project: str, *, service_token: bool = False) -> Client:
        if user not in self._clients:
            self._clients[user] = Client(self.home, user, password, project, service_token=service_token)
        return self._clients[user]

    def _make_state(self) -> None:
        shutil.rmtree(self.home.state, ignore_errors=True)
        for name in ("db", "nova/lock", "cinder/lock", "cinder/coordination", "dedangle"):
            (self.home.state / name).mkdir(parents=True)
        if self.home.is_sqlite:
            for name in DATABASES:
                sqlite.create(self.home.database_file(name))
        for keys in ("fernet-keys", "credential-keys"):
            directory = self.home.state / "keystone" / keys
            directory.mkdir(parents=True, mode=0o700)
            for number in ("0", "1"):
                (directory / number).write_text(config.fernet_key())

    def _readdress(self) -> None:
        """Correct the addresses that the services keep in their databases: a port may have been taken meanwhile."""
        with self.home.connect("keystone") as keystone:
            for kind, api in config.SERVICE_TYPES.items():
                keystone.execute(
                    sa.text(
                        "UPDATE endpoint SET url = :url WHERE service_id IN (SELECT id FROM service WHERE type = :kind)"
                    ),
                    {"url": self.home.url(api), "kind": kind},
                )
        with self.home.connect("nova_api") as nova_api:
            for cell, database in CELLS.items():
                nova_api.execute(
                    sa.text("UPDATE cell_mappings SET database_connection = :url WHERE name = :cell"),
                    {"url": self.home.database_url(database), "cell": cell},
                )
            nova_api.execute(
                sa.text("UPDATE cell_mappings SET transport_url = :url WHERE name = 'cell1'"),
                {"url": self.home.transport_url},
            )

    def _start_stage(self, stage: Sequence[Service], *options: str) -> None:
        for service in stage:
            self._launch(service.name, *options)
        for service in stage:
            with self._step(f"{service.name} is up"):
                self._wait_ready(service.name)

    def _launch(self, name: str, *options: str) -> None:
        service = self._services[name]
        program = [sys.executable, "-m", f"dedangle.lab.services.{service.module}", str(self.home.path)]
        settings = [
            "--name",
            name,
            "--database",
            self.home.database,
            "--manager",
            self.manager,
            "--hosts",
            str(self.hosts),
        ]
        parent = [] if self.keep else ["--parent", str(os.getpid())]
        command = [*program, *settings, *parent, *options, "--parts", *service.parts]
        self._processes[name].start(command, config.environment(self.home))

    def _wait_ready(self, service: str) -> None:
        deadline = time.monotonic() + START_DEADLINE
        while not self._processes[service].is_ready():
            if time.monotonic() > deadline:
                raise DeadlineError(
                    f"{service} was not up in {START_DEADLINE:.0f} s; see {self._processes[service].output}"
                )
            time.sleep(0.05)

    @contextmanager
    def _step(self, done: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._progress(f"{done} ({time.monotonic() - began:.1f} s)")
