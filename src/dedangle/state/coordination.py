# SPDX-License-Identifier: Apache-2.0
"""One changing run at a time on all machines, through tooz; like the file lock it only saves work."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from dedangle.state.lock import AnotherRunError, has_turn

_KNOWN = "file://, etcd3+http(s)://, redis://, zookeeper:// or kubernetes://"


class CoordinationError(Exception):
    """coordination_url names nothing that can be used; the message never shows the URL, which may hold a password."""


@contextlib.contextmanager
def exclusive(
    url: str, name: str, *, member: str, wait: float = 0, warn: Callable[[str], None] = lambda _: None
) -> Iterator[None]:
    """Hold the lock `name` at the URL; warn is told of what it cannot guarantee.

    Raises lock.AnotherRunError where another run still holds it after `wait` seconds, CoordinationError.
    """
    scheme = _scheme(url)
    with contextlib.ExitStack() as held:
        coordinator = held.enter_context(_started(url, member))
        if not _is_everywhere(coordinator):
            warn(f"coordination_url {scheme}:// keeps out the runs of those machines only that share its directory.")
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
    """Ask the service at the URL, and say whose runs its locks keep apart; raises CoordinationError."""
    with _started(url, member) as coordinator:
        if _is_everywhere(coordinator):
            return f"coordination_url {_scheme(url)}:// answers and keeps the runs of all machines apart"
        return f"coordination_url {_scheme(url)}:// keeps the runs of those machines apart that share its directory"


def _scheme(url: str) -> str:
    return url.partition("://")[0]


@contextlib.contextmanager
def _started(url: str, member: str) -> Iterator[Any]:
    coordinator = _coordinator(url, member)
    with contextlib.ExitStack() as held:
        with _told(_scheme(url)):
            # The heart beats in a thread and keeps a lock that the service would let expire.
            coordinator.start(start_heart=True)
            held.callback(_leave, coordinator.stop)
        yield coordinator


def _is_everywhere(coordinator: Any) -> bool:
    """Whether the lock is one for all machines."""
    from tooz.coordination import Characteristics

    # Of etcd tooz says the stronger thing alone.
    strong = {Characteristics.DISTRIBUTED_ACROSS_HOSTS, Characteristics.LINEARIZABLE}
    return bool(strong & set(coordinator.CHARACTERISTICS))


def _coordinator(url: str, member: str) -> Any:
    scheme = _scheme(url)
    if "://" not in url:
        raise CoordinationError(f"coordination_url is no URL. Name {_KNOWN}.")
    if scheme == "mysql":
        raise CoordinationError(
            "coordination_url mysql:// keeps nobody out on Galera: GET_LOCK() is one server's own, and each client may "
            f"be sent to another one. Name {_KNOWN}."
        )
    try:
        from tooz import coordination
    except ImportError as error:
        raise CoordinationError(f"coordination_url needs tooz, which is not installed here ({error}).") from error
    with _told(scheme):
        coordinator = coordination.get_coordinator(url, member.encode())
    if coordination.Characteristics.DISTRIBUTED_ACROSS_PROCESSES not in coordinator.CHARACTERISTICS:
        raise CoordinationError(f"coordination_url {scheme}:// keeps no other process out. Name {_KNOWN}.")
    return coordinator


@contextlib.contextmanager
def _told(scheme: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # tooz, stevedore and each driver's client raise kinds of their own for one cause; the text may hold the URL.
        raise CoordinationError(
            f"coordination_url {scheme}:// cannot be used ({type(error).__name__}): the service does not answer, or "
            f"the package of its driver is missing. Name {_KNOWN}."
        ) from error


def _leave(deed: Callable[[], object]) -> None:
    # The lock is let go of, or expires; the run's own result matters more.
    with contextlib.suppress(Exception):
        deed()
