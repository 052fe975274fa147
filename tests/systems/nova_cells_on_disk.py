# SPDX-License-Identifier: Apache-2.0
"""Cells on SQLite with the tables that dedangle reads, and rows in them with short ids."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dedangle.systems.nova import schema
from dedangle.systems.nova.actions import InstanceActions
from dedangle.systems.nova.cells import Cell
from dedangle.systems.nova.database import NovaDatabase

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=timezone.utc)


@dataclasses.dataclass(frozen=True)
class Rows:
    """The rows of one cell."""

    engine: sa.Engine

    def add(self, table: sa.Table, **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(table.insert().values({"deleted": 0, **values}))

    def server(self, name: str, **values: Any) -> None:
        place = {"project_id": f"project of {name}", "vm_state": "active", "host": "compute-1"}
        self.add(schema.instances, uuid=name, **{**place, **values})

    def mapping(self, number: int, server: str, table: sa.Table = schema.block_device_mapping, **values: Any) -> None:
        names = {"volume_id": f"v{number}", "attachment_id": f"a{number}", "uuid": f"b{number}"}
        row = {"id": number, "instance_uuid": server, "destination_type": "volume", **names}
        self.add(table, **{**row, **values})


def cell(path: Path, name: str) -> tuple[Cell, Rows]:
    engine = sa.create_engine(f"sqlite:///{path / name}.db")
    schema.block_device_mapping.metadata.create_all(engine)
    return Cell(f"Nova's {name}", lambda: engine, 60, name), Rows(engine)


def nova(*cells: Cell) -> NovaDatabase:
    actions = InstanceActions(cells, run_id="run", clock=lambda: NOW)
    down = timedelta(seconds=60)
    return NovaDatabase(cells[0], cells, actions=actions, service_down_time=down, clock=lambda: NOW)
