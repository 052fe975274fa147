# SPDX-License-Identifier: Apache-2.0
"""How a case is set: a state is built on the lab, and told with the rows that may go and the doors that take them."""

from __future__ import annotations

import importlib.util
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dedangle.lab import rows
from dedangle.lab.breakers import Breaker
from dedangle.lab.builders import Builder, Server
from dedangle.lab.client import wait_for
from dedangle.lab.cloud import Cloud

DOORS = ("sweep", "command", "reboot")
HERE = Path(__file__).parent


def lately() -> datetime:
    """Half an hour ago: after the mappings were settled, and long enough for an attach that has stopped half-way."""
    return datetime.now(timezone.utc).replace(tzinfo=None) - timedelta(minutes=30)


@dataclass(frozen=True)
class Planted:
    """A state that was built: whose it is, what must be found, and the rows that the doors of the case may remove."""

    servers: tuple[str, ...]
    finds: frozenset[tuple[str, str]]
    """(code, volume id) of each finding, those of --all included."""
    mappings: frozenset[str] = frozenset()
    attachments: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Case:
    """One row of the decision table, in one folder per code."""

    name: str
    row: str
    title: str
    build: Callable[[Stage], Planted]
    dispositions: set[str]
    """What the audit, which speaks for the sweep, says of its findings."""
    removed_by: tuple[str, ...] = ()
    doors: tuple[str, ...] = DOORS
    """The doors that can be opened on such a server at all."""
    way_out: tuple[str, ...] = ()
    """What is typed until nothing is listed any more, with words instead of ids."""
    outside: str = ""
    """What somebody must decide outside of dedangle, where something stays listed."""


def cases() -> list[Case]:
    """Every case of every folder beside this file, in order of code and file name."""
    return [_load(path) for path in sorted(HERE.glob("*/*.py")) if path.parent != HERE]


def _load(path: Path) -> Case:
    name = f"{path.parent.name}/{path.stem}"
    spec = importlib.util.spec_from_file_location(f"case_{path.parent.name}_{path.stem}".replace("-", "_"), path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    row, _, title = str(module.__doc__).strip().partition(": ")
    optional = {
        name: getattr(module, name.upper())
        for name in ("removed_by", "doors", "way_out", "outside")
        if hasattr(module, name.upper())
    }
    return Case(name, row, title, module.build, set(module.DISPOSITIONS), **optional)


def _column(name: str, value: object) -> sa.ColumnClause[Any]:
    # By itself sqlite3 writes a datetime with an adapter that Python 3.12 deprecates.
    return sa.column(name, sa.DateTime) if isinstance(value, datetime) else sa.column(name)


@dataclass
class Stage:
    """What cases are built with: a user of project p1 with all the ways to break things, and edits of rows."""

    cloud: Cloud
    project: str = "p1"
    user: Builder = field(init=False)
    breaks: Breaker = field(init=False)

    def __post_init__(self) -> None:
        self.user = Builder(self.cloud, self.project)
        self.breaks = Breaker(self.user)

    def server(self, volumes: int = 1) -> Server:
        return self.user.server(f"case-{uuid.uuid4().hex[:8]}", volumes)

    def edit(self, database: str, table: str, where: dict[str, object], **values: object) -> None:
        """Write columns of the rows that match, as only a crash or an old release leaves them."""
        target = sa.table(table, *(_column(name, value) for name, value in {**where, **values}.items()))
        statement = sa.update(target).values(**values)
        for name, value in where.items():
            statement = statement.where(target.c[name] == value)
        with self.cloud.home.connect(database) as connection:
            assert connection.execute(statement).rowcount >= 1

    def insert(self, database: str, table: str, **values: object) -> None:
        with self.cloud.home.connect(database) as connection:
            connection.execute(sa.insert(sa.table(table, *map(sa.column, values))).values(values))

    def edit_mapping(self, server: Server, volume: str, **values: object) -> None:
        where = {"instance_uuid": server.id, "volume_id": volume, "deleted": 0}
        self.edit("nova_cell1", "block_device_mapping", where, **values)

    def edit_attachment(self, attachment: str, **values: object) -> None:
        self.edit("cinder", "volume_attachment", {"id": attachment}, **values)

    def edit_server(self, server: Server, **values: object) -> None:
        self.edit("nova_cell1", "instances", {"uuid": server.id}, **values)

    def edit_volume(self, volume: str, **values: object) -> None:
        self.edit("cinder", "volumes", {"id": volume}, **values)

    def attachment(self, server: Server, volume: str) -> str:
        found = rows.snapshot(self.cloud.home).attachments_of(server.id)
        (attachment,) = [str(each["id"]) for each in found if each["volume_id"] == volume]
        return attachment

    def mapping_keys(self, server: str, volumes: Iterable[str]) -> frozenset[str]:
        """How a snapshot names the live mappings of a server for the volumes."""
        wanted = set(volumes)
        found = rows.snapshot(self.cloud.home).mappings_of(server)
        return frozenset(f"{each['cell']}/{each['id']}" for each in found if each["volume_id"] in wanted)

    def dead_host(self, since: timedelta = timedelta(hours=2)) -> str:
        """A host that last reported that long ago: the lab's own service, copied whole, under another name."""
        reported = datetime.now(timezone.utc).replace(tzinfo=None) - since
        return self._copy_of_service(f"dead-{uuid.uuid4().hex[:8]}", last_seen_up=str(reported))

    def left_host(self) -> str:
        """A host that had a nova-compute: Nova keeps its deleted service, and an attachment may still name it."""
        return self._copy_of_service("elsewhere", deleted=uuid.uuid4().int % 2**31)

    def _copy_of_service(self, host: str, **values: object) -> str:
        with self.cloud.home.connect("nova_cell1") as nova:
            query = "SELECT * FROM services WHERE \"binary\" = 'nova-compute' AND deleted = 0"
            own = nova.execute(sa.text(query)).mappings().first()
            assert own is not None
            changed = {"host": host, "uuid": str(uuid.uuid4()), **values}
            row = {**{name: value for name, value in own.items() if name != "id"}, **changed}
            nova.execute(sa.insert(sa.table("services", *map(sa.column, row))).values(row))
        return host

    def multiattach_volume(self) -> str:
        """A volume that several servers may have at once; the lab's backend does not offer them, so the row says so."""
        volume = self.user.volume()
        self.edit_volume(volume, multiattach=True)
        return volume

    def server_without_host(self) -> Server:
        """A server with two volumes that no host could ever take: it ends in cell0."""
        admin = self.cloud.admin
        body = {"flavor": {"name": "huge", "id": "huge", "ram": 1 << 30, "vcpus": 1, "disk": 0}}
        assert admin.nova("POST", "/flavors", body).status in (200, 409)
        volumes = (self.user.volume(bootable=True), self.user.volume())
        disks = [
            {"uuid": each, "boot_index": index, "source_type": "volume", "destination_type": "volume"}
            for each, index in zip(volumes, (0, -1), strict=True)
        ]
        request = {"name": "huge", "flavorRef": "huge", "networks": "none", "block_device_mapping_v2": disks}
        server = str(self.user.user.nova("POST", "/servers", {"server": request}, expect=202).body["server"]["id"])
        wait_for(f"server {server} without a host", lambda: self.user.status(server) == "ERROR")
        return Server(server, volumes)

    def leave_event_open(self, server: Server, begun: datetime | None = None) -> None:
        """Take back the end of the server's last event, as a crash of its host leaves it; begun is its start in UTC."""
        action = sa.table("instance_actions", sa.column("id"), sa.column("instance_uuid"))
        times = (sa.column(name, sa.DateTime) for name in ("start_time", "finish_time"))
        event = sa.table("instance_actions_events", sa.column("action_id"), *times)
        with self.cloud.home.connect("nova_cell1") as nova:
            of_server = sa.select(sa.func.max(action.c.id)).where(action.c.instance_uuid == server.id)
            last = nova.execute(of_server).scalar_one()
            open_since = {"finish_time": None} | ({"start_time": begun} if begun else {})
            nova.execute(sa.update(event).where(event.c.action_id == last).values(**open_since))

    def lock_for_refresh(self, server: Server) -> None:
        reason = {"lock": {"locked_reason": "Refreshing connection_info for BDM"}}
        self.cloud.admin.nova("POST", f"/servers/{server.id}/action", reason, expect=202)
