# SPDX-License-Identifier: Apache-2.0
"""On a Galera node that is behind, what another node has answered is waited for, and nothing in progress is missed."""

from __future__ import annotations

from collections.abc import Iterator

import galera
import pytest
import sqlalchemy as sa
from benchmarks.fleet.databases import MariaDb

from dedangle.core import packing
from dedangle.core.decisions import Result
from dedangle.systems import causality
from dedangle.systems.database import Database
from dedangle.systems.database_role import Role, role
from dedangle.systems.nova import schema
from dedangle.systems.packed_rows import Source


def test_an_attach_in_progress_is_seen_on_a_node_that_is_behind(nodes: tuple[galera.Node, galera.Node]) -> None:
    first, second = nodes
    one, plain = first.engine(), second.engine()
    with galera.held_back(second, one) as brake:
        _begin_attach(one)
        # Without the wait the attach is missed: this is what the node knows.
        with plain.begin() as connection:
            assert connection.execute(sa.select(schema.instance_actions_events)).all() == []
        release = galera.release_later(brake)
        seen = galera.nova(second.engine()).observe("s")
        release.join()
    assert seen.complete
    assert [each.kind for each in seen.markers] == ["event"]


def test_a_removal_on_a_node_that_is_behind_fails(nodes: tuple[galera.Node, galera.Node]) -> None:
    first, second = nodes
    one, nova = first.engine(), galera.nova(second.engine())
    view = nova.observe("s")
    (server,), mapping = view.servers, view.mappings[0]
    with galera.held_back(second, one) as brake:
        with one.begin() as connection:
            connection.execute(schema.instances.update().values(task_state="powering-off"))
        release = galera.release_later(brake)
        outcome = nova.soft_delete_mapping(mapping, server)
        release.join()
    assert outcome.result is Result.CHANGED_MEANWHILE


def test_a_node_is_told_from_a_single_server(nodes: tuple[galera.Node, galera.Node]) -> None:
    engine = nodes[1].engine()
    found = Database("Galera", lambda: engine, 60).ask(role)().rows
    assert found == (Role("MariaDB", galera="Synced, 2 nodes", sync_wait=7),)


def test_a_larger_wait_of_the_operator_is_kept(nodes: tuple[galera.Node, galera.Node]) -> None:
    engine = nodes[0].engine()

    # As oslo.db does for [database] mysql_wsrep_sync_wait (oslo_db/sqlalchemy/engines.py:_init_events).
    @sa.event.listens_for(engine, "connect")
    def _set(dbapi_connection: object, _: object) -> None:
        dbapi_connection.cursor().execute("SET SESSION wsrep_sync_wait = 8")  # type: ignore[attr-defined]

    asked = Database("Galera", lambda: engine, 60)
    assert asked.ask(causality.setting)().rows == (15,)
    with engine.connect() as connection:
        causality.do_not_wait(connection)
        assert causality.setting(connection) == 8


@pytest.fixture
def counted(single_mariadb: MariaDb) -> Iterator[tuple[Database, list[str]]]:
    engine, statements = sa.create_engine(single_mariadb.url("nova"), pool_size=1), list[str]()
    sa.event.listen(engine, "before_cursor_execute", lambda *args: statements.append(str(args[2])))
    yield Database("MariaDB", lambda: engine, 60), statements
    engine.dispose()


def _one(connection: sa.Connection) -> int:
    return int(connection.execute(sa.text("SELECT 1")).scalar_one())


def test_a_connection_is_told_once(counted: tuple[Database, list[str]]) -> None:
    asked, statements = counted
    for _ in range(3):
        assert asked.ask(_one)().rows == (1,)
    show, told, *rest = statements
    assert (show[:4], told) == ("SHOW", "SET SESSION wsrep_sync_wait = 7")
    assert rest == ["SELECT 1"] * 3
    asked.engine().dispose()
    assert asked.ask(_one)().rows == (1,)
    assert statements[5:] == ["SET SESSION wsrep_sync_wait = 7", "SELECT 1"]


def test_a_server_without_the_variable_is_asked_for_it_once(
    counted: tuple[Database, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(causality, "VARIABLE", "wsrep_no_such_thing")
    asked, statements = counted
    for _ in range(3):
        assert asked.ask(_one)().rows == (1,)
        asked.engine().dispose()
    assert statements == ["SHOW SESSION VARIABLES LIKE 'wsrep_no_such_thing'", *["SELECT 1"] * 3]


def test_pages_do_not_wait(counted: tuple[Database, list[str]]) -> None:
    asked, statements = counted
    table = sa.table("few", sa.column("id", sa.Integer))
    engine = asked.engine()
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE OR REPLACE TABLE few (id INT PRIMARY KEY)"))
    asked.ask(_one)()
    del statements[:]
    source = Source(key=table.c.id, first=0, fields=(table.c.id,), conditions=())  # type: ignore[arg-type]
    nothing = packing.Servers("cell1", packing.Rows(b""))
    readings = list(asked.pages(source, lambda text, count: nothing))
    assert all(each.complete for each in readings)
    assert [each for each in statements if "wsrep" in each] == ["SET SESSION wsrep_sync_wait = 0"]
    assert statements[0] == "SET SESSION wsrep_sync_wait = 0"


def _begin_attach(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        now = galera.NOW.replace(tzinfo=None)
        times = {"start_time": now, "created_at": now, "deleted": 0}
        action = {"id": 1, "instance_uuid": "s", "action": "attach_volume", "request_id": "req-1"}
        connection.execute(schema.instance_actions.insert().values(**action, **times))
        event = {"id": 1, "event": "compute_attach_volume", "action_id": 1}
        connection.execute(schema.instance_actions_events.insert().values(**event, **times))
