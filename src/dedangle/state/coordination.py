# SPDX-License-Identifier: Apache-2.0
"""One changing run at a time on all machines, through tooz; like the file lock it only saves work."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from dedangle.state.lock import await_turn

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
    coordinator = _coordinator(url, member, warn)
    scheme = url.partition(":")[0]
    with contextlib.ExitStack() as held:
        with _told(scheme):
            # The heart beats in a thread and keeps a lock that the service would let expire.
            coordinator.start(start_heart=True)
            held.callback(_leave, coordinator.stop)
            lock = coordinator.get_lock(name.encode())

        def acquire() -> bool:
            with _told(scheme):
                return bool(lock.acquire(blocking=False))

        await_turn(acquire, f"the lock {name} of coordination_url ({scheme})", wait)
        held.callback(_leave, lock.release)
        yield


def _coordinator(url: str, member: str, warn: Callable[[str], None]) -> Any:
    scheme, colon, _ = url.partition("://")
    if not colon:
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
    offered = set(coordinator.CHARACTERISTICS)
    if coordination.Characteristics.DISTRIBUTED_ACROSS_PROCESSES not in offered:
        raise CoordinationError(f"coordination_url {scheme}:// keeps no other process out. Name {_KNOWN}.")
    if coordination.Characteristics.DISTRIBUTED_ACROSS_HOSTS not in offered:
        warn(f"coordination_url {scheme}:// keeps out the runs of those machines only that share the directory.")
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
