# SPDX-License-Identifier: Apache-2.0
"""A process that has imported all that the command line needs, and forks for each run: most of a run is its imports.

Run as a program it serves; as a module it asks. The console script itself is what tests of signals and crashes start.
"""

import array
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
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

_PROGRAM = str(Path(sys.executable).with_name("dedangle"))
_process: "subprocess.Popen[bytes] | None" = None
_directory: "tempfile.TemporaryDirectory[str] | None" = None


def run(arguments: Sequence[str], environment: dict[str, str], seconds: float = 300) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr of `dedangle` with the arguments."""
    request = json.dumps({"arguments": [*arguments], "environment": environment}).encode()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(seconds)
            connection.connect(_address())
            descriptors = array.array("i", [out.fileno(), err.fileno()])
            connection.sendmsg([request], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
            connection.shutdown(socket.SHUT_WR)
            status = int(connection.recv(16))
        out.seek(0)
        err.seek(0)
        return os.waitstatus_to_exitcode(status), out.read(), err.read()


def _address() -> str:
    """Start the process when it is first needed; it ends with this one."""
    global _process, _directory
    if _directory is None or _process is None:
        _directory = tempfile.TemporaryDirectory(prefix="warm-")
        path = f"{_directory.name}/socket"
        _process = subprocess.Popen([sys.executable, __file__, path], stderr=subprocess.DEVNULL)
        atexit.register(_stop)
        while not Path(path).exists():
            assert _process.poll() is None, "the warm process did not start"
            time.sleep(0.02)
    return f"{_directory.name}/socket"


def _stop() -> None:
    if _process is not None:
        _process.kill()
        _process.wait()
    if _directory is not None:
        _directory.cleanup()


def _serve(path: str) -> NoReturn:
    warnings.simplefilter("ignore")
    # cliff takes the program's name from it when it is imported.
    sys.argv = [_PROGRAM]
    _import_everything()
    # Whoever is forked for a request ends by itself and is nobody's to wait for.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{path}.new")
        listener.listen(16)
        Path(f"{path}.new").rename(path)
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _answer(connection)
            connection.close()


def _import_everything() -> None:
    import dedangle

    for module in ("nova.config", "nova.context", "nova.objects", "nova.rpc", "nova.db.main.api", "nova.db.api.api"):
        importlib.import_module(module)
    for package in ("cli", "core", "reconcile", "report", "state", "systems"):
        for module in pkgutil.iter_modules([f"{dedangle.__path__[0]}/{package}"], f"dedangle.{package}."):
            # Those two are nova-compute's.
            if not module.name.endswith((".libvirt", ".nova_compute")):
                importlib.import_module(module.name)


def _answer(connection: socket.socket) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request, ancillary, _, _ = connection.recvmsg(1 << 20, socket.CMSG_SPACE(8))
    descriptors = array.array("i", ancillary[0][2])
    worker = os.fork()
    if worker == 0:
        connection.close()
        _run(json.loads(request), descriptors)
    _, status = os.waitpid(worker, 0)
    connection.sendall(str(status).encode())
    os._exit(0)


def _run(request: dict[str, object], descriptors: Sequence[int]) -> NoReturn:
    from dedangle.cli.main import main

    os.environ.clear()
    os.environ.update(request["environment"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(descriptors[0], 1)
    os.dup2(descriptors[1], 2)
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
    _serve(sys.argv[1])
