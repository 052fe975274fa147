# SPDX-License-Identifier: Apache-2.0
"""Make reads see every write that was answered before them, on any node of a Galera cluster.

A Galera node applies the writes of other nodes later than they answered: milliseconds when idle, seconds under load. A
node that was suspended is behind and does not know it. A second read of the same node proves nothing then.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import sqlalchemy as sa

VARIABLE = "wsrep_sync_wait"
# 1 for SELECT, 2 for UPDATE and DELETE, 4 for INSERT. A removal depends on what its own transaction reads.
MASK = 7
_WAITS = "dedangle_waits"

_own_settings: WeakKeyDictionary[sa.Engine, int | None] = WeakKeyDictionary()
"""The initial setting of an engine's sessions: that of the server, or [database] mysql_wsrep_sync_wait, which oslo.db
sets in each new connection. None if the server has no such variable."""


def wait(connection: sa.Connection) -> None:
    """Make later transactions of the session wait until the node has applied the writes of the other nodes.

    This costs one statement for each connection and one for each engine. Other bits of the session's mask are kept.
    Only the first statement of a transaction waits, so call this before it.
    """
    if not _is_mysql(connection) or connection.info.get(_WAITS):
        return
    if connection.engine not in _own_settings:
        with connection.begin():
            _own_settings[connection.engine] = _setting(connection)
    own = _own_settings[connection.engine]
    if own is None:
        return
    if own | MASK != own:
        _set(connection, own | MASK)
    # SQLAlchemy clears this dictionary when it reconnects.
    connection.info[_WAITS] = True


def do_not_wait(connection: sa.Connection) -> None:
    """Restore the initial setting of the session, if wait() changed it."""
    if _is_mysql(connection) and connection.info.pop(_WAITS, False):
        _set(connection, _own_settings[connection.engine] or 0)


def setting(connection: sa.Connection) -> int | None:
    """Return the wsrep_sync_wait of the session; None if the server has no such variable."""
    return _setting(connection) if _is_mysql(connection) else None


def _setting(connection: sa.Connection) -> int | None:
    # SELECT @@wsrep_sync_wait is an error (1193) on a server without this variable.
    row = connection.execute(sa.text(f"SHOW SESSION VARIABLES LIKE '{VARIABLE}'")).first()
    return None if row is None else int(row[1])


def _set(connection: sa.Connection, mask: int) -> None:
    with connection.begin():
        connection.execute(sa.text(f"SET SESSION {VARIABLE} = {mask}"))


def _is_mysql(connection: sa.Connection) -> bool:
    return connection.dialect.name in ("mysql", "mariadb")
