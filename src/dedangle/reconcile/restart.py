# SPDX-License-Identifier: Apache-2.0
"""A server is stopped while it is cleaned, and started again however that ends: the blueprint's own order."""

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
    """Stops servers through Nova's API, and starts none that it has not stopped."""

    nova: ports.Nova
    power: ports.Power
    stopped: StoppedServers
    patience: float
    """Seconds that a server may take to stop, and to start."""
    monotonic: Callable[[], float]
    pause: Callable[[float], None]
    shield: Callable[..., contextlib.AbstractContextManager[object]]
    progress: Callable[[str], None]
    trouble: Callable[[str], None]
    """Told, in a sentence with the next command to type, of a server that did not start again."""

    @contextlib.contextmanager
    def stopped_server(self, server_id: str, journal: Journal) -> Iterator[None]:
        """Stop the server, and start it again when the block has ended: by an exception or a signal too.

        Raises UnpreparedError where it does not stop.
        """
        try:
            with self.shield():
                journal.begin(server_id)
                self.stopped.remember(server_id)
                self.progress(f"Stopping server {server_id}")
                refusal = self.power.stop(server_id)
            reading = Reading.unread(refusal.why) if refusal else self._await(server_id, lambda each: each.is_stopped)
            if not reading.rows:
                raise UnpreparedError(f"the server was not stopped: {reading.why or 'it is gone'}")
            yield
        finally:
            self.start_again(server_id)

    def start_again(self, server_id: str) -> None:
        """Start the server if this run stopped it, or one that was killed before it came to that."""
        if server_id not in self.stopped:
            return
        with self.shield(even_after_signal=True):
            self.progress(f"Starting server {server_id} again")
            # It may still be on its way down, and Nova starts only what is stopped.
            reading = self._await(server_id, lambda each: each.task_state is None)
            if any(each.vm_state == "stopped" for each in reading.rows):
                refusal = self.power.start(server_id)
                reading = Reading.unread(refusal.why) if refusal else self._await(server_id, _is_up)
            if reading.complete:
                self.stopped.forget(server_id)
            else:
                self.trouble(
                    f"Server {server_id} was stopped and is not seen to run again: {reading.why}. "
                    f"When it is stopped, run: openstack server start {server_id}"
                )

    def was_left_stopped(self, server: Server | None) -> bool:
        """Whether a run that was killed left the server stopped; one that runs again by now is forgotten."""
        if server is None or server.id not in self.stopped:
            return False
        if server.vm_state != "stopped" and server.task_state is None:
            with contextlib.suppress(OSError):
                self.stopped.forget(server.id)
        return server.id in self.stopped

    def _await(self, server_id: str, done: Callable[[Server], bool]) -> Reading[Server]:
        """Read the server until it is done; no rows in a complete reading: it is deleted."""
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
