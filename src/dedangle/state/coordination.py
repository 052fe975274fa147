# SPDX-License-Identifier: Apache-2.0
"""A lock for all machines, through tooz: only one changing run at a time. Like the file lock it only saves work."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from dedangle.state.lock import AnotherRunError, has_turn

_KNOWN = "file://, etcd3+http(s)://, redis://, zookeeper:// or kubernetes://"


class CoordinationError(Exception):
    """coordination_url cannot be used. The message never shows the URL, because it may contain a password."""


@contextlib.contextmanager
def exclusive(
    url: str, name: str, *, member: str, wait: float = 0, warn: Callable[[str], None] = lambda _: None
) -> Iterator[None]:
    """Hold the lock `name` at the URL. Calls `warn` if the lock does not work between all machines.

    Raises lock.AnotherRunError if another run still holds the lock after `wait` seconds, and CoordinationError.
    """
    scheme = _scheme(url)
    with contextlib.ExitStack() as held:
        coordinator = held.enter_context(_started(url, member))
        if not _is_everywhere(coordinator):
            warn(f"coordination_url {scheme}:// only locks out runs on machines that share its directory.")
        with _told(scheme):
            lock = coordinator.get_lock(name.encode())

        def acquire() -> bool:
            with _told(scheme):
                return bool(lock.acquire(blocking=False))

        if not has_turn(acquire, wait):
            raise AnotherRunError(f"the lock {name} of coordination_url ({scheme})")
        held.callback(_leave, lock.release)
        yield


def guarantee(url: str, *, member: str) -> str:
    """Ask the service at the URL, and return between which machines its locks work; raise CoordinationError."""
    with _started(url, member) as coordinator:
        where = "on all machines" if _is_everywhere(coordinator) else "on machines that share its directory"
        return f"coordination_url {_scheme(url)}:// prevents two runs at the same time {where}"


def _scheme(url: str) -> str:
    return url.partition("://")[0]


@contextlib.contextmanager
def _started(url: str, member: str) -> Iterator[Any]:
    coordinator = _coordinator(url, member)
    with contextlib.ExitStack() as held:
        with _told(_scheme(url)):
            # A thread sends the heartbeats; without them the service lets the lock expire.
            coordinator.start(start_heart=True)
            held.callback(_leave, coordinator.stop)
        yield coordinator


def _is_everywhere(coordinator: Any) -> bool:
    """Whether the lock works between all machines."""
    from tooz.coordination import Characteristics

    # For etcd, tooz only declares LINEARIZABLE, which is stronger.
    strong = {Characteristics.DISTRIBUTED_ACROSS_HOSTS, Characteristics.LINEARIZABLE}
    return bool(strong & set(coordinator.CHARACTERISTICS))


def _coordinator(url: str, member: str) -> Any:
    scheme = _scheme(url)
    if "://" not in url:
        raise CoordinationError(f"coordination_url is not a URL. Use {_KNOWN}.")
    if scheme == "mysql":
        raise CoordinationError(
            "coordination_url mysql:// does not lock on Galera: each node has its own GET_LOCK(), and clients may use "
            f"different nodes. Use {_KNOWN}."
        )
    try:
        from tooz import coordination
    except ImportError as error:
        raise CoordinationError(
            f"coordination_url needs the Python package tooz, which is not installed ({error})."
        ) from error
    with _told(scheme):
        coordinator = coordination.get_coordinator(url, member.encode())
    if coordination.Characteristics.DISTRIBUTED_ACROSS_PROCESSES not in coordinator.CHARACTERISTICS:
        raise CoordinationError(f"coordination_url {scheme}:// has no locks between processes. Use {_KNOWN}.")
    return coordinator


@contextlib.contextmanager
def _told(scheme: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # tooz, stevedore and each client library raise different errors for one cause, and the text may have the URL.
        raise CoordinationError(
            f"coordination_url {scheme}:// cannot be used ({type(error).__name__}): the service does not answer, or "
            f"the Python package of its driver is missing. Use {_KNOWN}."
        ) from error


def _leave(deed: Callable[[], object]) -> None:
    # If the release fails, the lock expires. The result of the run must not depend on it.
    with contextlib.suppress(Exception):
        deed()
