# SPDX-License-Identifier: Apache-2.0
"""How much a project has, which the fuse asks in databases of more servers than a question takes."""

import datetime
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from dedangle.core.records import Reading
from dedangle.systems.nova import fleet, schema
from dedangle.systems.nova.actions import InstanceActions
from dedangle.systems.nova.cells import Cell
from dedangle.systems.nova.database import NovaDatabase

SERVERS = [str(uuid.uuid4()) for _ in range(7)]


@pytest.fixture(autouse=True)
def _few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "_SERVERS_COUNTED", 2)


def cell(path: Path, name: str, servers: list[str], mappings: int) -> Cell:
    """Each server has so many mappings that count, and one of each kind that does not."""
    engine = sa.create_engine(f"sqlite:///{path / name}.db")
    table = schema.block_device_mapping
    with engine.begin() as connection:
        for each in (table, schema.instances):
            each.create(connection)
        for number, server in enumerate(servers):
            rows = [(0, "volume", "v")] * mappings + [(5, "volume", "v"), (0, "local", "v"), (0, "volume", None)]
            for deleted, destination, volume in rows:
                row = {"deleted": deleted, "destination_type": destination, "volume_id": volume}
                connection.execute(table.insert().values(instance_uuid=server, **row))
            place = {"uuid": server, "id": 3 * number + 1}
            connection.execute(schema.instances.insert().values(project_id="p", deleted=0, **place))
        other = {"id": 100, "uuid": str(uuid.uuid4()), "project_id": "other", "deleted": 0}
        gone = {"id": 101, "uuid": str(uuid.uuid4()), "project_id": "p", "deleted": 101}
        for row in (other, gone):
            connection.execute(schema.instances.insert().values(row))
            connection.execute(
                table.insert().values(instance_uuid=row["uuid"], deleted=0, destination_type="volume", volume_id="v")
            )
    return Cell(f"Nova's {name}", lambda: engine, 60, name)


def anything(_: str) -> bool:
    return True


@pytest.mark.parametrize(
    ("counts", "most", "expected"),
    [
        (anything, 1000, 21),
        (lambda server: server in SERVERS[2:4], 1000, 6),
        # Two servers at once have six mappings, and no more are asked for.
        (anything, 6, 6),
        (anything, 7, 12),
    ],
)
def test_what_counts_is_counted_until_it_is_enough(
    tmp_path: Path, counts: Callable[[str], bool], most: float, expected: int
) -> None:
    one = cell(tmp_path, "cell1", SERVERS, 3)
    assert fleet.mappings_of_project(one, "p", counts, most) == Reading((expected,))


def test_cells_are_counted_one_after_the_other(tmp_path: Path) -> None:
    cells = [cell(tmp_path, f"cell{number}", SERVERS[:3], number) for number in (1, 2, 3)]
    nova = nova_of(cells)
    assert nova.mappings_of_project("p", anything, 1000) == Reading((3, 6, 9))
    assert nova.mappings_of_project("p", anything, 4) == Reading((3, 4))
    nova.leave_out("cell2", "silent")
    assert nova.mappings_of_project("p", anything, 1000) == Reading((3, 9))


def test_a_cell_that_does_not_answer_is_no_number(tmp_path: Path) -> None:
    missing = sa.create_engine(f"sqlite:///{tmp_path}/secret/nova.db")
    cells = [cell(tmp_path, "cell1", SERVERS, 1), Cell("Nova's cell2", lambda: missing, 60, "cell2")]
    answer = nova_of(cells).mappings_of_project("p", anything, 1000)
    assert (answer.complete, answer.why) == (False, "Nova's cell2 could not be read (OperationalError)")


def nova_of(cells: list[Cell]) -> NovaDatabase:
    return NovaDatabase(
        cells[0],
        cells,
        actions=InstanceActions([], run_id="run", clock=lambda: NOW),
        service_down_time=datetime.timedelta(minutes=1),
        clock=lambda: NOW,
    )


NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
