# SPDX-License-Identifier: Apache-2.0
"""Many servers are read with the statements of one, and each as if it were read by itself."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from nova_cells_on_disk import NOW, Rows, cell, nova

from dedangle.systems.nova import schema

SERVERS = [f"server-{number}" for number in range(30)]
_EARLIER = (NOW - timedelta(hours=3)).replace(tzinfo=None)


def fill(rows: Rows) -> None:
    """Servers of every kind of history, none of which is another one's."""
    for number, name in enumerate(SERVERS):
        if number % 5:
            rows.server(
                name,
                id=number + 1,
                host=f"host-{number % 3}",
                hidden=False,
                deleted=number + 1 if number % 7 == 0 else 0,
            )
        else:
            rows.add(schema.shadow_instances, id=number + 1, uuid=name, project_id="p", vm_state="deleted", deleted=1)
        for step in range(3):
            deleted = 10 * number + step if step == 2 else 0
            rows.mapping(10 * number + step + 1, name, created_at=_EARLIER, deleted=deleted)
        action = {"instance_uuid": name, "request_id": f"req-{number}", "start_time": _EARLIER, "updated_at": _EARLIER}
        rows.add(schema.instance_actions, id=number + 1, action="attach_volume" if number % 2 else "reboot", **action)
        if number % 3 == 0:
            event = {"action_id": number + 1, "event": "compute_something", "start_time": _EARLIER}
            rows.add(schema.instance_actions_events, id=number + 1, **event)
        move = {"instance_uuid": name, "migration_type": "live-migration", "updated_at": _EARLIER}
        rows.add(schema.migrations, id=number + 1, status="running" if number % 4 else "error", **move)
    for number in range(2):
        times = {"created_at": _EARLIER, "last_seen_up": NOW.replace(tzinfo=None) if number else _EARLIER}
        rows.add(
            schema.services, id=number + 1, host=f"host-{number}", binary="nova-compute", forced_down=False, **times
        )


def counted(engine: sa.Engine, question: Callable[[], Any]) -> tuple[Any, int]:
    asked: list[str] = []

    def note(*event: Any) -> None:
        asked.append(event[2])

    sa.event.listen(engine, "before_cursor_execute", note)
    answer = question()
    sa.event.remove(engine, "before_cursor_execute", note)
    return answer, len(asked)


def test_many_servers_take_as_many_statements_as_one(tmp_path: Path) -> None:
    one, rows = cell(tmp_path, "cell1")
    fill(rows)
    database = nova(one)
    _, of_one = counted(rows.engine, lambda: database.observe(SERVERS[1]))
    together, of_many = counted(rows.engine, lambda: database.observe_many(SERVERS))
    assert of_many == of_one
    assert list(together) == SERVERS
    assert together == {each: database.observe(each) for each in SERVERS}
    assert {view.host_state for view in together.values()} == {"up", "down", "gone", "none"}
    assert any(view.markers for view in together.values())


def test_the_links_of_many_servers_are_those_of_each(tmp_path: Path) -> None:
    one, rows = cell(tmp_path, "cell1")
    fill(rows)
    database = nova(one)
    near = {each: database.observe(each).mappings[:1] for each in SERVERS[1:9]}
    together, of_many = counted(rows.engine, lambda: database.links_of_many({**near, "": ()}))
    _, of_one = counted(rows.engine, lambda: database.links(SERVERS[1], near[SERVERS[1]]))
    assert of_many == of_one
    assert together == {each: database.links(each, near.get(each, ())) for each in ["", *near]}
    assert all(link.server_id != each for each, reading in together.items() for link in reading.rows)
    assert all(near.values())
