# SPDX-License-Identifier: Apache-2.0
"""Writes of other nodes during a write, and lost answers: each write has one outcome."""

from __future__ import annotations

import contextlib
import itertools
import socket
from collections.abc import Callable
from typing import Any

import galera
import pytest
import sqlalchemy as sa
from benchmarks.fleet.databases import MariaDb

from dedangle.core.decisions import Result
from dedangle.core.records import BlockDeviceMapping, Server
from dedangle.systems.nova import schema
from dedangle.systems.nova.actions import InstanceActions
from dedangle.systems.nova.cells import Cell

Nodes = tuple[galera.Node, galera.Node]
_servers = (f"server-{number}" for number in itertools.count(1))


def before_commit(engine: sa.Engine, deed: Callable[[sa.Connection], object]) -> None:
    """Do it once, right before the first commit of a transaction that has written."""
    state = {"wrote": False, "done": False}

    @sa.event.listens_for(engine, "before_cursor_execute")
    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        state["wrote"] = state["wrote"] or statement.startswith(("UPDATE", "INSERT"))

    @sa.event.listens_for(engine, "commit")
    def act(connection: sa.Connection) -> None:
        if state["wrote"] and not state["done"]:
            state["done"] = True
            deed(connection)


def seen(engine: sa.Engine) -> tuple[Server, BlockDeviceMapping]:
    """A new server and one of its mappings, as the engine's node shows them."""
    server_id = next(_servers)
    galera.add_server(engine, server_id)
    view = galera.nova(engine).observe(server_id)
    return view.servers[0], view.mappings[0]


def change(table: sa.Table, **values: Any) -> Callable[[str], sa.Update]:
    key = table.c.uuid if table is schema.instances else table.c.instance_uuid
    return lambda server_id: sa.update(table).where(key == server_id).values(**values)


@pytest.mark.parametrize(
    ("other", "result"),
    [
        (change(schema.instances, task_state="powering-on"), Result.CHANGED_MEANWHILE),
        (change(schema.block_device_mapping, attachment_id="another"), Result.CHANGED_MEANWHILE),
        # Nova writes the server's row for many reasons, and most are none to keep the mapping.
        (change(schema.instances, display_name="renamed"), Result.REMOVED),
    ],
)
def test_what_another_node_orders_before_the_commit_counts(
    nodes: Nodes, other: Callable[[str], sa.Update], result: Result
) -> None:
    first, second = nodes
    one, two = first.engine(), second.engine()
    server, mapping = seen(two)
    with contextlib.ExitStack() as held:
        before_commit(two, lambda _: _order_unseen(held, second, one, other(server.id)))
        outcome = galera.nova(two).soft_delete_mapping(mapping, server)
    assert outcome.result is result, outcome
    (row,) = _mappings(one, mapping.id)
    assert (row.deleted == mapping.id) == (result is Result.REMOVED)


@pytest.fixture(scope="module")
def single(single_mariadb: MariaDb) -> MariaDb:
    galera.make_tables(sa.create_engine(single_mariadb.url("nova")))
    return single_mariadb


def test_a_single_server_that_reads_what_is_committed_lets_nobody_in_between(single: MariaDb) -> None:
    engine = sa.create_engine(single.url("nova"), isolation_level="READ COMMITTED")
    server, mapping = seen(engine)
    changed = []

    def start(_: sa.Connection) -> None:
        with engine.connect() as connection:
            connection.execute(sa.text("SET SESSION innodb_lock_wait_timeout = 1"))
            try:
                connection.execute(change(schema.instances, task_state="powering-on")(server.id))
                connection.commit()
                changed.append(True)
            except sa.exc.OperationalError:
                connection.rollback()

    before_commit(engine, start)
    outcome = galera.nova(engine).soft_delete_mapping(mapping, server)
    assert [bool(changed), outcome.result] in ([False, Result.REMOVED], [True, Result.CHANGED_MEANWHILE])


def test_a_row_that_has_changed_since_it_was_read_is_compared_again(single: MariaDb) -> None:
    # MariaDB 11.6 and later have this by default.
    isolated = sa.create_engine(single.url("nova"), connect_args={"init_command": "SET innodb_snapshot_isolation = ON"})
    server, _ = seen(isolated)
    table = schema.instances
    tries = []

    def write(connection: sa.Connection) -> str:
        was = connection.execute(sa.select(table.c.vm_state).where(table.c.uuid == server.id)).scalar_one()
        tries.append(was)
        if len(tries) == 1:
            with sa.create_engine(single.url("nova")).begin() as other:
                other.execute(change(table, vm_state="error")(server.id))
        connection.execute(change(table, power_state=4)(server.id))
        return str(was)

    written = Cell("Nova's cell1", lambda: isolated, 60, "cell1").write(write)
    assert (written.reading.rows, written.may_be_written) == (("error",), False)
    assert tries == [server.vm_state, "error"]


@pytest.mark.parametrize("was_committed", [True, False])
def test_a_lost_answer_to_a_commit_is_found_out(nodes: Nodes, was_committed: bool) -> None:
    two = nodes[1].engine()
    server, mapping = seen(two)

    def lose(connection: sa.Connection) -> None:
        raw: Any = connection.connection.dbapi_connection
        if was_committed:
            raw.commit()
        raw._sock.shutdown(socket.SHUT_RDWR)

    before_commit(two, lose)
    outcome = galera.nova(two).soft_delete_mapping(mapping, server)
    assert outcome.result is Result.REMOVED, outcome
    (row,) = _mappings(two, mapping.id)
    assert row.deleted == mapping.id


def test_a_lost_answer_that_cannot_be_found_out_is_unknown(nodes: Nodes) -> None:
    two = nodes[1].engine()
    server, mapping = seen(two)

    def lose(connection: sa.Connection) -> None:
        raw: Any = connection.connection.dbapi_connection
        raw.commit()
        raw._sock.shutdown(socket.SHUT_RDWR)

        @sa.event.listens_for(two, "do_connect")
        def refuse(*_: object) -> None:
            raise raw.OperationalError(2003, "Can't connect to MySQL server")

    before_commit(two, lose)
    outcome = galera.nova(two, timeout=1).soft_delete_mapping(mapping, server)
    assert outcome.result is Result.UNKNOWN, outcome
    # A run on a database that answers again finds what was written.
    (row,) = _mappings(nodes[0].engine(), mapping.id)
    assert row.deleted == mapping.id


def test_what_another_removed_is_not_taken_for_ones_own_lost_write(nodes: Nodes) -> None:
    one, two = nodes[0].engine(), nodes[1].engine()
    server, mapping = seen(two)

    def lose(connection: sa.Connection) -> None:
        raw: Any = connection.connection.dbapi_connection
        raw._sock.shutdown(socket.SHUT_RDWR)
        table = schema.block_device_mapping
        with one.begin() as other:
            later = galera.NOW.replace(tzinfo=None, hour=13)
            gone = {"deleted": mapping.id, "deleted_at": later}
            other.execute(sa.update(table).where(table.c.id == mapping.id).values(**gone))

    before_commit(two, lose)
    outcome = galera.nova(two).soft_delete_mapping(mapping, server)
    assert outcome.result is Result.CHANGED_MEANWHILE, outcome


def test_of_two_runs_on_two_nodes_at_most_one_goes_on(nodes: Nodes) -> None:
    first, second = nodes
    one, two = first.engine(), second.engine()
    server, _ = seen(two)
    others: dict[str, Any] = {}
    with contextlib.ExitStack() as held:

        def begin(_: sa.Connection) -> None:
            brake = held.enter_context(galera.held_back(second, one))
            others["first"] = _actions(one, "first").begin(server)
            galera.release_later(brake)

        before_commit(two, begin)
        others["second"] = _actions(two, "second").begin(server)
    assert [each.complete for each in others.values()] == [True, True]
    assert [name for name, other in others.items() if not other.rows] in ([], ["first"], ["second"])
    # The run that stopped has no open action, so it blocks no other run.
    gave_way = [name for name, other in others.items() if other.rows]
    table = schema.instance_actions
    with one.connect() as connection:
        for name in gave_way:
            of_run = sa.select(table.c.finish_time).where(table.c.request_id == f"req-dedangle-{name}")
            assert None not in list(connection.execute(of_run).scalars())


def _actions(engine: sa.Engine, run_id: str) -> InstanceActions:
    cell = Cell("Nova's cell1", lambda: engine, 60, "cell1")
    return InstanceActions([cell], run_id=run_id, clock=lambda: galera.NOW)


def _order_unseen(held: contextlib.ExitStack, node: galera.Node, writer: sa.Engine, statement: sa.Update) -> None:
    """Let another node commit the statement, which this one has not applied yet when it commits next."""
    brake = held.enter_context(galera.held_back(node, writer))
    with writer.begin() as other:
        other.execute(statement)
    galera.release_later(brake)


def _mappings(engine: sa.Engine, number: int) -> list[Any]:
    table = schema.block_device_mapping
    with engine.begin() as connection:
        connection.execute(sa.text("SET SESSION wsrep_sync_wait = 1"))
    with engine.connect() as connection:
        return list(connection.execute(sa.select(table).where(table.c.id == number)))
