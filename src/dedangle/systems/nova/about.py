# SPDX-License-Identifier: Apache-2.0
"""Read from Nova's databases the release of their schema, and the compute hosts."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from dedangle.core.records import HostState
from dedangle.systems.nova import schema
from dedangle.systems.nova.rows import utc

RELEASES = {
    "b30f573d3377": "2023.1",
    "cdeec0c85668": "2024.1 to 2026.2",
    "960aac0e09ea": "2023.1",
    "13863f4e1612": "2024.1",
    "2903cd72dc14": "2025.1 to 2026.1",
    "ab450ba04102": "2026.2",
}
"""The last revision of the API database's schema and of a cell's in the releases of Nova that dedangle is tested with
(nova/db/api/migrations/versions, nova/db/main/migrations/versions)."""

_version = sa.table("alembic_version", sa.column("version_num"))


class ComputeHost(NamedTuple):
    name: str
    is_up: bool


def revision(connection: sa.Connection) -> str:
    """Return the revision of the database's schema."""
    return str(connection.execute(sa.select(_version.c.version_num)).scalar_one())


def compute_hosts(now: datetime, service_down_time: timedelta) -> Callable[[sa.Connection], list[ComputeHost]]:
    """Return a query for the compute hosts of a cell, and whether each of them reported in time."""

    def question(connection: sa.Connection) -> list[ComputeHost]:
        rows = connection.execute(_computes().order_by(schema.services.c.host))
        return [ComputeHost(row.host, _is_up(row, now, service_down_time)) for row in rows]

    return question


class Liveness(NamedTuple):
    state: HostState
    reported_at: datetime | None = None
    """The last report of its nova-compute."""


def liveness(
    connection: sa.Connection, hosts: Collection[str], now: datetime, service_down_time: timedelta
) -> dict[str, Liveness]:
    """Return the state of the nova-compute of each host from the cell's table `services`."""
    if not hosts:
        return {}
    rows = connection.execute(_computes().where(schema.services.c.host.in_(hosts)))
    found = {
        row.host.lower(): Liveness(
            HostState.UP if _is_up(row, now, service_down_time) else HostState.DOWN, _reported_at(row)
        )
        for row in rows
    }
    return {host: found.get(host.lower(), Liveness(HostState.GONE)) for host in hosts}


def _computes() -> sa.Select[Any]:
    services = schema.services
    return sa.select(services.c.host, services.c.forced_down, services.c.created_at, services.c.last_seen_up).where(
        services.c.binary == "nova-compute", services.c.deleted == 0
    )


def _reported_at(row: sa.Row[Any]) -> datetime | None:
    return utc(row.last_seen_up or row.created_at)


def _is_up(row: sa.Row[Any], now: datetime, service_down_time: timedelta) -> bool:
    """Whether the service reported in time, as nova/servicegroup/drivers/db.py:is_up counts it."""
    seen = _reported_at(row)
    # A report with a time in the future counts by its difference too, because one of the clocks is wrong.
    return not row.forced_down and seen is not None and abs(now - seen) <= service_down_time
