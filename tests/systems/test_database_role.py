# SPDX-License-Identifier: Apache-2.0
"""The doctor tells a server that takes writes from one that does not, and warns of the latter."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from benchmarks.fleet.databases import MariaDb, PostgreSql

from dedangle.doctor import checks, databases
from dedangle.doctor.checks import State
from dedangle.lab import packages
from dedangle.lab.errors import LabError
from dedangle.systems.database import Database
from dedangle.systems.database_role import Role, role
from dedangle.systems.nova.cells import Cell

POSTGRESQL = packages.Packages(("postgresql",), ("pg_createcluster", "psql"))


@pytest.fixture
def mariadb_server(single_mariadb: MariaDb) -> sa.Engine:
    return sa.create_engine(single_mariadb.url("nova"), poolclass=sa.NullPool)


@pytest.fixture
def postgresql_server() -> Iterator[sa.Engine]:
    try:
        packages.ensure_installed(POSTGRESQL)
    except LabError as missing:
        pytest.skip(str(missing))
    with tempfile.TemporaryDirectory() as path:
        server = PostgreSql(Path(path), "32M")
        with server.running():
            yield sa.create_engine(server.url("nova"), poolclass=sa.NullPool)


def asked(engine: sa.Engine) -> Role:
    ((found),) = Database("it", lambda: engine, 60).ask(role)().rows
    return found


def test_mariadb(mariadb_server: sa.Engine) -> None:
    assert asked(mariadb_server) == Role("MariaDB", sync_wait=7)
    with mariadb_server.connect() as control:
        control.execute(sa.text("SET GLOBAL read_only = 1"))
        assert asked(mariadb_server).read_only.startswith("read_only=")
        control.execute(sa.text("SET GLOBAL read_only = 0"))
        # Nobody is there to be followed: the server tries again and again, and is a replica all the same.
        control.execute(sa.text("CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=1, MASTER_USER='nobody'"))
        assert asked(mariadb_server).replica == "SHOW REPLICA STATUS names a source"
        control.execute(sa.text("CREATE USER nova IDENTIFIED BY 'nova'"))
        # A user like Nova's own may not ask that, and is no worse off.
        assert asked(_as_nova(mariadb_server)) == Role("MariaDB", sync_wait=7)


def test_postgresql(postgresql_server: sa.Engine) -> None:
    assert asked(postgresql_server) == Role("PostgreSQL")
    with postgresql_server.begin() as control:
        control.execute(sa.text("ALTER DATABASE nova SET default_transaction_read_only = on"))
    assert asked(postgresql_server) == Role("PostgreSQL", read_only="transaction_read_only=on")


def test_sqlite() -> None:
    assert asked(sa.create_engine("sqlite://", poolclass=sa.NullPool)) == Role("SQLite")


@pytest.mark.parametrize(
    ("found", "state", "says"),
    [
        (Role("MariaDB", sync_wait=7), State.OK, "on a single server of MariaDB."),
        (
            Role("MariaDB", galera="Synced, 3 nodes", sync_wait=7),
            State.OK,
            "on a Galera node of MariaDB (Synced, 3 nodes), where reads and writes wait for the other nodes "
            "(wsrep_sync_wait=7).",
        ),
        (Role("MySQL", read_only="super_read_only=ON"), State.WARNING, "It is read-only (super_read_only=ON)."),
        (Role("PostgreSQL", replica="pg_is_in_recovery() is true"), State.WARNING, "a replica (pg_is_in_recovery()"),
    ],
)
def test_the_doctor_warns_of_what_is_not_the_primary(
    found: Role, state: State, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/nova.db")
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE alembic_version (version_num TEXT)"))
        connection.execute(sa.text("INSERT INTO alembic_version VALUES ('ab450ba04102')"))
    # A replica and a cluster are more than one server.
    monkeypatch.setattr(databases, "role", lambda _: found)
    (check,) = databases.databases([Cell("Nova's cell1", lambda: engine, 60, "cell1")])
    assert (check.name, check.state) == (f"{checks.DATABASE} cell1", state)
    assert says in check.sentence
    assert bool(check.next_step) is (state is State.WARNING)


def _as_nova(engine: sa.Engine) -> sa.Engine:
    return sa.create_engine(
        engine.url.set(username="nova", password="nova", database="information_schema"), poolclass=sa.NullPool
    )
