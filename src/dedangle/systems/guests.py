# SPDX-License-Identifier: Apache-2.0
"""A table of Nova's virt drivers: what each can prove about the guests of its host, and what a reboot does there."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from dedangle.core.records import Disk, Guest, HostConnection, Reading
from dedangle.systems import libvirt

_UNPROVED: Reading[Any] = Reading.unread("only nova-compute with libvirt reports the disks of its guests")


class VirtDriver(NamedTuple):
    """A row of the table. A driver without a row proves nothing."""

    module: str
    """The module of Nova's driver class."""
    reports_guests: bool = False
    rebuilds_guests: bool = False
    """Whether a hard reboot creates a new guest with only the mapped disks, even if the old guest is off."""
    connects_volumes: bool = True
    disks: Callable[[Any, str], Reading[Disk]] = lambda _driver, _server_id: _UNPROVED
    """As libvirt.disks."""
    guests: Callable[[Any, str, int, Collection[str] | None], Reading[Guest]] = lambda *_: _UNPROVED
    """As libvirt.guests."""
    unused_connections: Callable[[Any], Reading[HostConnection]] = lambda _driver: _UNPROVED
    """As libvirt.unused_connections."""
    sources_of_others: Callable[[Any, str], Reading[tuple[str, str]]] = lambda _driver, _server_id: _UNPROVED
    """As libvirt.sources_of_others."""


_DRIVERS = (
    VirtDriver(
        "nova.virt.libvirt.driver",
        reports_guests=True,
        rebuilds_guests=True,
        disks=libvirt.disks,
        guests=libvirt.guests,
        unused_connections=libvirt.unused_connections,
        sources_of_others=libvirt.sources_of_others,
    ),
    VirtDriver("nova.virt.fake", rebuilds_guests=True, connects_volumes=False),
)
_OTHER = VirtDriver("")


def of(driver: Any) -> VirtDriver:
    """Return the row of a driver, by the modules of its classes."""
    modules = {base.__module__ for base in type(driver).__mro__}
    return next((known for known in _DRIVERS if known.module in modules), _OTHER)


def disks(driver: Any, server_id: str) -> Reading[Disk]:
    """Return the disks of the server's guest with their volumes; unread if the driver does not report them."""
    return of(driver).disks(driver, server_id)
