# SPDX-License-Identifier: Apache-2.0
"""The processes of a lab. Each has a session of its own, and is known by its pid and start time."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from dedangle.lab.errors import ServiceFailedError
from dedangle.lab.home import Home


class Process:
    """One process of the lab; any other process may stop it too, through its pid file."""

    def __init__(self, name: str, home: Home) -> None:
        self.name = name
        self.output = home.logs / f"{name}.out"
        self._pid_file = home.run / f"{name}.pid"
        self._ready_file = home.run / f"{name}.ready"
        self._child: subprocess.Popen[bytes] | None = None

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._ready_file.unlink(missing_ok=True)
        if self._child is not None:
            self._child.wait()
        with self.output.open("ab") as log:
            self._child = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C goes to the process that runs the lab, which then stops all services in order.
                start_new_session=True,
            )
        self._pid_file.write_text(json.dumps({"pid": self._child.pid, "started": _start_time(self._child.pid)}))

    def is_running(self) -> bool:
        return self._pid() is not None

    def is_ready(self) -> bool:
        """Whether it has reported that it is up; raise ServiceFailedError if it has died."""
        if not self.is_running():
            logs = f"{self.output.with_suffix('')}.*"
            raise ServiceFailedError(f"{self.name} did not start: {_last_words(self.output)} (see {logs})")
        return self._ready_file.exists()

    def stop(self, sign: signal.Signals = signal.SIGTERM, patience: float = 10) -> None:
        """Stop it, if it runs, with SIGKILL when it has not ended after `patience` seconds."""
        deadline = time.monotonic() + patience
        self.send(sign)
        # A frozen one takes no other signal before.
        self.send(signal.SIGCONT)
        while self.is_running():
            if time.monotonic() > deadline:
                self.send(signal.SIGKILL)
            time.sleep(0.02)
        if self._child is not None:
            self._child.wait()
        self._pid_file.unlink(missing_ok=True)
        self._ready_file.unlink(missing_ok=True)

    def send(self, sign: signal.Signals) -> None:
        """Send the signal to the process and all that it has started, if it runs."""
        pid = self._pid()
        if pid is not None:
            # It may end between the question and the signal.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, sign)

    def _pid(self) -> int | None:
        if self._child is not None:
            # Reaps it, and Popen knows better than /proc whether its own child has ended.
            self._child.poll()
        try:
            known = json.loads(self._pid_file.read_text())
        except FileNotFoundError:
            return None
        pid = int(known["pid"])
        return pid if _start_time(pid) == known["started"] else None


def _start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks after boot, or None if it has ended; unique with the pid."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])


def _last_words(output: Path) -> str:
    lines = [line for line in output.read_text(errors="replace").splitlines() if line]
    return lines[-1] if lines else "it said nothing"
