# SPDX-License-Identifier: Apache-2.0
"""What every program of the lab does: serve WSGI, say that it is ready, and end with the lab."""

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from cheroot import wsgi

from dedangle.lab import sqlite
from dedangle.lab.access import AccessLog
from dedangle.lab.config import COMPUTE_HOSTS
from dedangle.lab.faults import FaultInjector, rules_path
from dedangle.lab.home import ADDRESS, Home


class Program:
    """One process of the lab, as its command line describes it."""

    def __init__(self) -> None:
        parser = argparse.ArgumentParser()
        parser.add_argument("home", type=Path)
        parser.add_argument("--name", required=True)
        parser.add_argument("--database", required=True)
        parser.add_argument("--parts", nargs="*", default=[])
        parser.add_argument("--manager")
        parser.add_argument("--hosts", type=int, default=1)
        parser.add_argument("--parent", type=int)
        parser.add_argument("--build", action="store_true")
        arguments = parser.parse_args()
        self.name: str = arguments.name
        self.parts: list[str] = arguments.parts
        self.home = Home(arguments.home, arguments.database)
        self.manager: str = arguments.manager
        self.hosts = COMPUTE_HOSTS[: arguments.hosts]
        self.build: bool = arguments.build
        if arguments.parent:
            threading.Thread(target=_end_with, args=[arguments.parent], daemon=True).start()
        # The services parse sys.argv themselves.
        sys.argv = [f"lab-{self.name}"]
        if self.home.is_sqlite:
            sqlite.begin_immediate()

    def serve(self, application: Any, api: str, threads: int = 10, port: str = "") -> None:
        """Serve an API at its port, or at that of the name, where a proxy has the former."""
        log = AccessLog(
            FaultInjector(application, rules_path(self.home.run, api)), self.home.logs / f"{api}.access.json"
        )
        server = wsgi.Server(
            (ADDRESS, self.home.ports[port or api]),
            log,
            numthreads=threads,
            server_name=ADDRESS,
            request_queue_size=128,
        )
        # Cheroot keeps ten idle connections and closes the rest, each under the hands of a client that reuses it.
        server.keep_alive_conn_limit, server.timeout = 1000, 600
        server.prepare()
        threading.Thread(target=server.serve, name=f"{api}-api", daemon=True).start()

    def wait_for(self, other: str) -> None:
        """Wait until another program is ready; the lab stops us if it dies."""
        while not ready_file(self.home, other).exists():
            time.sleep(0.05)

    def ready(self) -> None:
        """Tell the lab that this process is up."""
        ready_file(self.home, self.name).touch()

    def attend(self, child: "subprocess.Popen[bytes]", is_up: Callable[[], bool]) -> None:
        """Say that a program of another package is up once it is, and stay until it ends."""
        # The lab signals the whole process group, so the child has heard it too.
        signal.signal(signal.SIGTERM, lambda *_: None)
        while child.poll() is None and not is_up():
            time.sleep(0.05)
        if child.poll() is None:
            self.ready()
        print(f"{self.name} ended with {child.wait()}", flush=True)

    def stay(self, running: Sequence[object] = ()) -> NoReturn:
        """Say that everything is up, and keep what is `running` until SIGTERM."""
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        self.ready()
        while running is not None:
            signal.pause()


def run(main: Callable[[], None]) -> NoReturn:
    """Run a program, and end it when it fails, whatever threads it has started by then."""
    try:
        main()
    except BaseException:  # noqa: BLE001  # a service of the lab that dies must end its process
        traceback.print_exc()
    os._exit(1)


def ready_file(home: Home, name: str) -> Path:
    return home.run / f"{name}.ready"


def _end_with(parent: int) -> None:
    # PR_SET_PDEATHSIG fires when the parent's *thread* ends, and a test may start a service from any thread.
    while os.getppid() == parent:
        time.sleep(0.5)
    # The lab has made every program the leader of its process group.
    os.killpg(0, signal.SIGKILL)
