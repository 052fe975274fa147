# SPDX-License-Identifier: Apache-2.0
"""What Nova's databases tell of the deployment: the release of their schema, and the compute hosts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from dedangle.systems import nova_schema as schema

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
    """The revision of the database's schema."""
    return str(connection.execute(sa.select(_version.c.version_num)).scalar_one())


def compute_hosts(now: datetime, service_down_time: timedelta) -> Callable[[sa.Connection], list[ComputeHost]]:
    """The question which compute hosts a cell has, and which of them reported in time, as Nova counts it."""
    services = schema.services

    def question(connection: sa.Connection) -> list[ComputeHost]:
        statement = sa.select(
            services.c.host, services.c.forced_down, services.c.created_at, services.c.last_seen_up
        ).where(services.c.binary == "nova-compute", services.c.deleted == 0)
        return [
            ComputeHost(
                row.host,
                not row.forced_down
                and now.replace(tzinfo=None) - (row.last_seen_up or row.created_at) <= service_down_time,
            )
            for row in connection.execute(statement.order_by(services.c.host))
        ]

    return question
