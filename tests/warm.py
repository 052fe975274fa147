# SPDX-License-Identifier: Apache-2.0
"""A process that has imported all that the command line needs, and forks for each run: most of a run is its imports.

Run as a program it serves; as a module it asks. The console script itself is what tests of signals and crashes start.
"""

import atexit
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

_PROGRAM = str(Path(sys.executable).with_name("dedangle"))
_starting = threading.Lock()
_requests: socket.socket | None = None


def run(arguments: Sequence[str], environment: dict[str, str], seconds: float = 300) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr of `dedangle` with the arguments."""
    request = json.dumps({"arguments": [*arguments], "environment": environment}).encode()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        answer, answering = socket.socketpair()
        with answer:
            with answering:
                descriptors = [out.fileno(), err.fileno(), answering.fileno()]
                socket.send_fds(_warm(), [request], descriptors)
            answer.settimeout(seconds)
            status = answer.recv(16)
        assert status, "the warm process ended before its answer"
        out.seek(0)
        err.seek(0)
        return os.waitstatus_to_exitcode(int(status)), out.read(), err.read()


def _warm() -> socket.socket:
    """Return the socket to the process, which starts when it is first needed and ends when the socket is closed."""
    global _requests
    # Tests call the command line from several threads.
    with _starting:
        if _requests is None:
            # One message is one request, even if others send at the same time.
            _requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                number = theirs.fileno()
                command = [sys.executable, __file__, str(number)]
                process = subprocess.Popen(command, pass_fds=[number], stderr=subprocess.DEVNULL)
            # Last in, first out: the process ends when the socket is closed.
            atexit.register(process.wait)
            atexit.register(_requests.close)
        return _requests


def _serve(requests: socket.socket) -> NoReturn:
    warnings.simplefilter("ignore")
    # cliff takes the program's name from it when it is imported.
    sys.argv = [_PROGRAM]
    _import_everything()
    # A process that is forked for a request ends by itself, and nobody must wait for it.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        request, descriptors, _, _ = socket.recv_fds(requests, 1 << 20, 3)
        if not request:
            os._exit(0)
        if os.fork() == 0:
            requests.close()
            _answer(json.loads(request), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _import_everything() -> None:
    import dedangle

    for module in ("nova.config", "nova.context", "nova.objects", "nova.rpc", "nova.db.main.api", "nova.db.api.api"):
        importlib.import_module(module)
    for package in ("cli", "core", "reconcile", "report", "state", "systems"):
        for module in pkgutil.iter_modules([f"{dedangle.__path__[0]}/{package}"], f"dedangle.{package}."):
            # Those two are nova-compute's.
            if not module.name.endswith((".libvirt", ".nova_compute")):
                importlib.import_module(module.name)


def _answer(request: dict[str, object], descriptors: Sequence[int]) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    out, err, answering = descriptors
    worker = os.fork()
    if worker == 0:
        os.close(answering)
        _run(request, out, err)
    _, status = os.waitpid(worker, 0)
    os.write(answering, str(status).encode())
    os._exit(0)


def _run(request: dict[str, object], out: int, err: int) -> NoReturn:
    from dedangle.cli.main import main

    os.environ.clear()
    os.environ.update(request["environment"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    sys.argv = [_PROGRAM, *request["arguments"]]
    code = 1
    try:
        code = main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
