# SPDX-License-Identifier: Apache-2.0
"""Reads that see everything which was answered before them, on whatever node of a Galera cluster it was written.

A Galera node applies what other nodes wrote some time after they answered: milliseconds when idle, seconds under load,
and a node that wakes up is behind without knowing. Asking the same node again proves nothing then.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import sqlalchemy as sa

VARIABLE = "wsrep_sync_wait"
# 1 for SELECT, 2 for UPDATE and DELETE, 4 for INSERT: a removal is decided on what its own transaction reads.
MASK = 7
_WAITS = "dedangle_waits"

_own_settings: WeakKeyDictionary[sa.Engine, int | None] = WeakKeyDictionary()
"""What the sessions of an engine begin with: the server's setting, or [database] mysql_wsrep_sync_wait, which oslo.db
sets as each connection is made. None: the server has no such variable."""


def wait(connection: sa.Connection) -> None:
    """Let the first statement of each later transaction of the session wait until the node has applied the others'.

    One statement for each connection to the server, beside one for each engine, and none in between. A larger mask of
    the session's own is kept. Only the first statement of a transaction waits: this must come before it.
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
    # SQLAlchemy clears the dictionary when it connects anew.
    connection.info[_WAITS] = True


def do_not_wait(connection: sa.Connection) -> None:
    """Put the session back to its own setting, where wait() changed it."""
    if _is_mysql(connection) and connection.info.pop(_WAITS, False):
        _set(connection, _own_settings[connection.engine] or 0)


def setting(connection: sa.Connection) -> int | None:
    """Return the mask that the session waits with; None on a server that knows no such wait."""
    return _setting(connection) if _is_mysql(connection) else None


def _setting(connection: sa.Connection) -> int | None:
    # Reading @@wsrep_sync_wait is an error (1193) on a server that lacks it.
    row = connection.execute(sa.text(f"SHOW SESSION VARIABLES LIKE '{VARIABLE}'")).first()
    return None if row is None else int(row[1])


def _set(connection: sa.Connection, mask: int) -> None:
    with connection.begin():
        connection.execute(sa.text(f"SET SESSION {VARIABLE} = {mask}"))


def _is_mysql(connection: sa.Connection) -> bool:
    return connection.dialect.name in ("mysql", "mariadb")
