# SPDX-License-Identifier: Apache-2.0
"""Find out the role of a database server: single or in a Galera cluster, writable or not, a replica or not."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import sqlalchemy as sa

from dedangle.systems import causality

_READ_ONLY = ("read_only", "super_read_only", "innodb_read_only")
_SESSION_READ_ONLY = ("transaction_read_only", "tx_read_only")
_GALERA = ("wsrep_on", "wsrep_provider")
_STATUS = ("wsrep_cluster_size", "wsrep_local_state_comment", "Slave_running", "Slaves_running")


class Role(NamedTuple):
    product: str
    """MariaDB, MySQL, PostgreSQL or SQLite."""
    read_only: str = ""
    """The settings that forbid writes; empty if it can be written."""
    replica: str = ""
    """The sign that it replicates another server; empty if there is none."""
    galera: str = ""
    """The state of the node and the size of its cluster; empty without a cluster."""
    sync_wait: int | None = None
    """The wsrep_sync_wait of the session; None if the server has no such variable."""
    seconds_behind: float | None = None
    """Of a replica, infinite where it does not replicate; None on no replica, and where the user may not see it."""


def role(connection: sa.Connection) -> Role:
    """Return the role of the server of the connection, as far as a user without privileges may see it."""
    if connection.dialect.name in ("mysql", "mariadb"):
        return _of_mysql(connection)
    if connection.dialect.name == "postgresql":
        return _of_postgresql(connection)
    return Role("SQLite")


def _of_mysql(connection: sa.Connection) -> Role:
    settings = _named(connection, "VARIABLES", (*_READ_ONLY, *_SESSION_READ_ONLY, *_GALERA, "version"))
    status = _named(connection, "GLOBAL STATUS", _STATUS)
    read_only = [f"{name}={value}" for name, value in settings.items() if "read_only" in name and _is_on(value)]
    galera = ""
    if _is_on(settings.get("wsrep_on", "OFF")) and settings.get("wsrep_provider", "none") != "none":
        nodes = status.get("wsrep_cluster_size", "0")
        galera = f"{status.get('wsrep_local_state_comment', 'state unknown')}, {nodes} nodes"
    replica, seconds_behind = _replication(connection, status)
    return Role(
        product="MariaDB" if "MariaDB" in settings.get("version", "") else "MySQL",
        read_only=", ".join(read_only),
        replica=replica,
        galera=galera,
        sync_wait=causality.setting(connection),
        seconds_behind=seconds_behind,
    )


def _of_postgresql(connection: sa.Connection) -> Role:
    in_recovery = bool(connection.execute(sa.text("SELECT pg_is_in_recovery()")).scalar_one())
    read_only = str(connection.execute(sa.text("SHOW transaction_read_only")).scalar_one())
    return Role(
        product="PostgreSQL",
        read_only="transaction_read_only=on" if _is_on(read_only) else "",
        replica="pg_is_in_recovery() is true" if in_recovery else "",
    )


def _replication(connection: sa.Connection, status: dict[str, str]) -> tuple[str, float | None]:
    running = [name for name in ("Slave_running", "Slaves_running") if _is_on(status.get(name, "OFF"))]
    status_line = f"{running[0]}={status[running[0]]}" if running else ""
    try:
        followed = connection.execute(sa.text("SHOW REPLICA STATUS")).mappings().first()
    except Exception:  # noqa: BLE001 -- oslo.db translates errors into many kinds
        # Nova's user may lack the privilege (1227), and servers before MySQL 8.0.22 do not know the statement (1064).
        # oslo.db translates both errors. A failed statement does not end a transaction in MySQL.
        return status_line, None
    if not followed:
        return status_line, None
    seconds = followed.get("Seconds_Behind_Source", followed.get("Seconds_Behind_Master"))
    return status_line or "SHOW REPLICA STATUS names a source", math.inf if seconds is None else float(seconds)


def _named(connection: sa.Connection, what: str, names: tuple[str, ...]) -> dict[str, str]:
    listed = ", ".join(f"'{name}'" for name in names)
    rows: Any = connection.execute(sa.text(f"SHOW {what} WHERE Variable_name IN ({listed})"))
    return {str(name): str(value) for name, value in rows}


def _is_on(value: str) -> bool:
    # In MariaDB 12 read_only has other values than ON too; Slaves_running is a number.
    return value.upper() not in ("OFF", "0", "NO", "")
