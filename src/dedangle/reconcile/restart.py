# SPDX-License-Identifier: Apache-2.0
"""Stop a server while it is cleaned, and always start it again: the order that the blueprint requires."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

from dedangle.core.records import Reading, Server
from dedangle.reconcile.server import UnpreparedError
from dedangle.state.journal import Journal
from dedangle.state.stopped import StoppedServers
from dedangle.systems import ports

_POLL = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Restarter:
    """Stops servers through Nova's API, and only starts servers that it has stopped."""

    nova: ports.Nova
    power: ports.Power
    stopped: StoppedServers
    patience: float
    """Timeout in seconds for a stop and for a start."""
    monotonic: Callable[[], float]
    pause: Callable[[float], None]
    shield: Callable[..., contextlib.AbstractContextManager[object]]
    progress: Callable[[str], None]
    trouble: Callable[[str], None]
    """Called with a sentence and the next command if a server did not start again."""

    @contextlib.contextmanager
    def stopped_server(self, server_id: str, journal: Journal) -> Iterator[None]:
        """Stop the server, and start it again after the block, also after an exception or a signal.

        Raises UnpreparedError if the server does not stop.
        """
        try:
            with self.shield():
                journal.begin(server_id)
                self.stopped.remember(server_id)
                self.progress(f"Stopping server {server_id}")
                refusal = self.power.stop(server_id)
            reading = Reading.unread(refusal.why) if refusal else self._await(server_id, lambda each: each.is_stopped)
            if not reading.rows:
                raise UnpreparedError(f"the server was not stopped: {reading.why or 'it was deleted'}")
            yield
        finally:
            self.start_again(server_id)

    def start_again(self, server_id: str) -> None:
        """Start the server if this run stopped it, or if an earlier run stopped it and was killed."""
        if server_id not in self.stopped:
            return
        with self.shield(even_after_signal=True):
            self.progress(f"Starting server {server_id} again")
            # The server may still be stopping, and Nova only starts a stopped server.
            reading = self._await(server_id, lambda each: each.task_state is None)
            if any(each.vm_state == "stopped" for each in reading.rows):
                refusal = self.power.start(server_id)
                reading = Reading.unread(refusal.why) if refusal else self._await(server_id, _is_up)
            if reading.complete:
                self.stopped.forget(server_id)
            else:
                self.trouble(
                    f"Server {server_id} was stopped, and dedangle could not start it again: {reading.why}. "
                    f"When its status is SHUTOFF, run: openstack server start {server_id}"
                )

    def was_left_stopped(self, server: Server | None) -> bool:
        """Whether a killed run left the server stopped. A server that runs again is dropped from the list."""
        if server is None or server.id not in self.stopped:
            return False
        if server.vm_state != "stopped" and server.task_state is None:
            with contextlib.suppress(OSError):
                self.stopped.forget(server.id)
        return server.id in self.stopped

    def _await(self, server_id: str, done: Callable[[Server], bool]) -> Reading[Server]:
        """Read the server until `done` is true; a complete reading without rows means that it was deleted."""
        deadline = self.monotonic() + self.patience
        while True:
            view = self.nova.read_live(server_id)
            living = [server for server in view.servers if not server.deleted]
            if view.complete and all(map(done, living)):
                return Reading(tuple(living))
            if self.monotonic() >= deadline:
                state = "; ".join(f"it is {each.vm_state}, task_state {each.task_state or 'none'}" for each in living)
                return Reading.unread(f"{state or '; '.join(view.unread)} after {self.patience:g} s")
            self.pause(_POLL)


def _is_up(server: Server) -> bool:
    return server.vm_state == "active" and server.task_state is None
