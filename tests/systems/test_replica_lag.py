# SPDX-License-Identifier: Apache-2.0
"""A copy of Cinder's database that lags, or may, is not what a sweep concludes from."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from benchmarks.fleet.databases import MariaDb

from dedangle.core.run import Run
from dedangle.reconcile.screen import Gathered
from dedangle.reconcile.sweep import read_screen
from dedangle.systems.cinder.database import CinderDatabase

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=timezone.utc)
FRESH, OLD = timedelta(seconds=20), timedelta(minutes=10)


def services(url: Any, *ages: timedelta) -> None:
    """Let Cinder's services have reported so long ago."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    columns = (sa.Column("updated_at", sa.DateTime), sa.Column("deleted", sa.Boolean))
    table = sa.Table("services", sa.MetaData(), *columns)
    with engine.begin() as connection:
        table.create(connection)
        for age in ages:
            connection.execute(table.insert().values(updated_at=(NOW - age).replace(tzinfo=None), deleted=False))


@pytest.mark.parametrize(
    ("ages", "why"),
    [
        ((FRESH, OLD), ""),
        ((OLD, OLD), "Cinder's database shows no report of a Cinder service for 600 s: it lags, or is a copy"),
    ],
)
def test_the_newest_report_of_a_service_tells_how_old_a_copy_is(
    tmp_path: Path, ages: tuple[timedelta, ...], why: str
) -> None:
    url = f"sqlite:///{tmp_path}/cinder.db"
    services(url, *ages)
    assert str(CinderDatabase(url, 60).why_stale(NOW) or "").startswith(why)
    assert bool(CinderDatabase(url, 60).why_stale(NOW)) is bool(why)


def test_a_single_server_whose_services_may_not_be_read_is_believed(tmp_path: Path) -> None:
    assert CinderDatabase(f"sqlite:///{tmp_path}/cinder.db", 60).why_stale(NOW) is None


def test_a_sweep_concludes_nothing_from_a_copy_that_lags(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cinder.db"
    services(url, OLD)
    run, nothing = Run("run"), SimpleNamespace(clock=lambda: NOW)
    with Gathered() as gathered:
        screen = read_screen(nothing, CinderDatabase(url, 60), nothing, run, lambda *_: None, gathered)  # type: ignore[arg-type]
    assert screen is None
    assert [each.startswith("every server: Cinder's database") for each in run.not_checked] == [True]
    assert not run.complete


@pytest.fixture(scope="module")
def replica(single_mariadb: MariaDb) -> MariaDb:
    """A server that follows another one, which it cannot reach."""
    with sa.create_engine(single_mariadb.url("cinder"), poolclass=sa.NullPool).connect() as connection:
        socket = connection.execute(sa.text("SELECT CONCAT(@@datadir, @@socket)")).scalar_one()
    engine = sa.create_engine(f"mysql+pymysql://root@localhost/?unix_socket={socket}", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text("CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=1, MASTER_USER='nobody'"))
        connection.execute(sa.text("START SLAVE"))
        connection.execute(sa.text("CREATE USER cinder IDENTIFIED BY 'cinder'"))
        connection.execute(sa.text("GRANT SELECT ON cinder.* TO cinder"))
    return single_mariadb


def test_a_replica_that_does_not_replicate_is_not_believed(replica: MariaDb) -> None:
    why = CinderDatabase(replica.url("cinder"), 60).why_stale(NOW)
    assert "does not replicate" in str(why)


def test_a_replica_that_does_not_tell_its_lag_is_believed_by_its_heartbeat(replica: MariaDb) -> None:
    url = sa.make_url(replica.url("cinder")).set(username="cinder", password="cinder")
    database = CinderDatabase(url.render_as_string(hide_password=False), 60)
    assert "cannot read how far it is behind" in str(database.why_stale(NOW))
    services(replica.url("cinder"), FRESH)
    assert database.why_stale(NOW) is None
