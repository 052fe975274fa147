# SPDX-License-Identifier: Apache-2.0
"""The bulk read from Cinder's database, if [dedangle] cinder_database is set. All other reads use Cinder's API."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Collection, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import sqlalchemy as sa

from dedangle.core import packing
from dedangle.core.records import Attachment, Reading, Refusal, Volume
from dedangle.core.work import QUIET_MIGRATION
from dedangle.systems.cinder import rows as cinder_rows
from dedangle.systems.database import Database
from dedangle.systems.database_role import Role, role
from dedangle.systems.packed_rows import Source, or_none
from dedangle.systems.ports import Neighbours

_metadata = sa.MetaData()
_volume_attachment = sa.Table(
    "volume_attachment",
    _metadata,
    *(sa.Column(name, sa.String) for name in ("id", "instance_uuid", "volume_id", "attach_status", "attached_host")),
    sa.Column("created_at", sa.DateTime),
    sa.Column("deleted", sa.Boolean),
)
_volumes = sa.Table(
    "volumes",
    _metadata,
    *(sa.Column(name, sa.String) for name in ("id", "status", "migration_status", "project_id", "display_name")),
    sa.Column("multiattach", sa.Boolean),
    sa.Column("deleted", sa.Boolean),
    sa.Column("size", sa.Integer),
    sa.Column("updated_at", sa.DateTime),
)
_services = sa.Table("services", _metadata, sa.Column("updated_at", sa.DateTime), sa.Column("deleted", sa.Boolean))
_LAST_REPORT = sa.select(sa.func.max(_services.c.updated_at)).where(_services.c.deleted == sa.false())
# What is younger counts as in progress anyway.
_MOST_BEHIND = timedelta(minutes=2)


def _named_values(name: str) -> sa.Table:
    columns = (sa.Column(each, sa.String) for each in ("volume_id", "key", "value"))
    return sa.Table(name, _metadata, *columns, sa.Column("deleted", sa.Boolean))


_metadata_of_volumes, _metadata_of_images = map(_named_values, ("volume_metadata", "volume_glance_metadata"))
# Number of ids in one statement; each is looked up in an index.
_CHUNK = 1000
_NO_DATE = datetime(1900, 1, 1)

# Paged by primary key, because volume_attachment has no other index than that and volume_id. Keys are compared as text,
# and "" is smaller than every key.
_ATTACHMENTS = Source(
    key=_volume_attachment.c.id,
    first="",
    fields=(
        or_none(_volume_attachment.c.instance_uuid),
        _volume_attachment.c.volume_id,
        sa.case(
            *(
                (_volume_attachment.c.attach_status == status, sa.literal_column(f"'{number:02x}'", sa.String))
                for number, status in enumerate(packing.STATUSES[: packing.OTHER_STATUS])
            ),
            else_=sa.literal_column(f"'{packing.OTHER_STATUS:02x}'", sa.String),
        ),
    ),
    conditions=(_volume_attachment.c.deleted == sa.false(),),
)
_QUIET_VOLUMES = Source(
    key=_volumes.c.id,
    first="",
    fields=(),
    conditions=(
        _volumes.c.deleted == sa.false(),
        # core/work.py:is_quiet.
        _volumes.c.status == "in-use",
        sa.or_(
            _volumes.c.migration_status.is_(None),
            _volumes.c.migration_status.in_([each for each in QUIET_MIGRATION if each is not None]),
        ),
    ),
)


class CinderDatabase:
    """Reads Cinder's database and never writes. `timeout` is in seconds, for one page."""

    def __init__(self, url: str, timeout: float) -> None:
        """Raise sqlalchemy.exc.ArgumentError if the URL is invalid, and ImportError if its driver is not installed."""
        engine = sa.create_engine(url, pool_pre_ping=True)
        self._database = Database("Cinder's database", lambda: engine, timeout)

    def bulk(
        self,
        named: Callable[[], Collection[packing.Named]] = tuple,  # noqa: ARG002
        at_once: int = 1,  # noqa: ARG002
    ) -> list[Iterator[Reading[packing.Page]]]:
        """Return every live attachment and then every quiet volume, in short pages by primary key."""
        attachments = self._database.pages(_ATTACHMENTS, _attachments)
        return [itertools.chain(attachments, self._database.pages(_QUIET_VOLUMES, _quiet_volumes))]

    def multiattach(self, volume_ids: Collection[str]) -> Reading[str]:
        wanted, found = sorted(volume_ids), list[str]()
        for start in range(0, len(wanted), _CHUNK):
            chunk = sa.select(_volumes.c.id).where(
                _volumes.c.id.in_(wanted[start : start + _CHUNK]), _volumes.c.multiattach == sa.true()
            )
            answer = self._database.ask(functools.partial(_ids, chunk))()
            if not answer.complete:
                return Reading.unread(answer.why)
            found += answer.rows[0]
        return Reading(tuple(found))

    def volumes(self, volume_ids: Collection[str]) -> Reading[Volume]:
        """Return those of the volumes that exist, with the fields that Cinder's API shows."""
        wanted, found = sorted(volume_ids), list[Volume]()
        for start in range(0, len(wanted), _CHUNK):
            answer = self._database.ask(functools.partial(_volumes_with, wanted[start : start + _CHUNK]))()
            if not answer.complete:
                return Reading.unread(answer.why)
            found += answer.rows[0]
        return Reading(tuple(found))

    def neighbours_of_many(self, attachment_ids: Collection[str], limit: int) -> dict[str, Neighbours]:
        """Return the neighbours of the attachments; none if the database does not answer, and Cinder's API is asked.

        There is no index by age: the database sorts all live attachments, twice for all these together. Cinder's API
        makes it do that twice for each of them.
        """
        wanted = sorted(attachment_ids)
        found = self._database.ask(functools.partial(_neighbours, wanted, limit))() if wanted else Reading()
        return next(iter(found.rows), {})

    def has(self, attachment_id: str) -> Reading[bool]:
        """Return whether the database has this live attachment."""
        row = sa.select(_volume_attachment.c.id).where(
            _volume_attachment.c.id == attachment_id, *_ATTACHMENTS.conditions
        )
        return self._database.ask(lambda connection: connection.execute(row).first() is not None)()

    def why_stale(self, now: datetime) -> Refusal | None:
        """Return why what it shows may be older than what Cinder's API shows, by more than an attach may take.

        A server that is no replica may be a copy too: Cinder's services write the time there every ten seconds.
        """
        server = next(iter(self.role().rows), None)
        if server is None:
            # What reads it says so, too.
            return None
        tolerated = _MOST_BEHIND.total_seconds()
        if server.seconds_behind == math.inf:
            return Refusal("Cinder's database is a replica that does not replicate")
        if (server.seconds_behind or 0) > tolerated:
            return Refusal(f"Cinder's database is a replica that is {server.seconds_behind:.0f} s behind")
        newest = self._database.ask(lambda connection: connection.execute(_LAST_REPORT).scalar_one())()
        reported = next((each for each in newest.rows if each), None)
        if reported is None:
            is_unknown = server.replica and server.seconds_behind is None
            why = f"Cinder's database is a replica ({server.replica}), and dedangle cannot read how far it is behind"
            return Refusal(f"{why}: let its user read services") if is_unknown else None
        silent = now - reported.replace(tzinfo=timezone.utc)
        if silent > _MOST_BEHIND:
            seconds = f"{silent.total_seconds():.0f} s"
            return Refusal(
                f"Cinder's database shows no report of a Cinder service for {seconds}: it lags, or is a copy, or no "
                "Cinder service runs"
            )
        return None

    def role(self) -> Reading[Role]:
        """Return the role of the database server; a replica may have fewer rows than Cinder's API shows."""
        return self._database.ask(role)()


def _attachments(text: str, count: int) -> packing.Page | None:
    rows = packing.rows_of_text(text, count, 3, flagged=True)
    return packing.Attachments(rows) if rows else None


def _quiet_volumes(text: str, count: int) -> packing.Page | None:
    rows = packing.rows_of_text(text, count, 1)
    return packing.QuietVolumes(rows) if rows else None


def _volumes_with(volume_ids: list[str], connection: sa.Connection) -> list[Volume]:
    """Read the volumes as Cinder's API shows them to an administrator."""
    attachments = _volume_attachment
    connected = sa.select(attachments.c.volume_id, attachments.c.id, attachments.c.attached_host).where(
        attachments.c.volume_id.in_(volume_ids), *_ATTACHMENTS.conditions, attachments.c.attach_status == "attached"
    )
    hosts: dict[str, list[dict[str, Any]]] = {}
    for volume_id, attachment_id, host in connection.execute(connected):
        hosts.setdefault(volume_id, []).append({"attachment_id": attachment_id, "host_name": host})
    metadata, image = (
        _values_of(table, volume_ids, connection) for table in (_metadata_of_volumes, _metadata_of_images)
    )
    live = sa.select(_volumes).where(_volumes.c.id.in_(volume_ids), _volumes.c.deleted == sa.false())
    return [
        cinder_rows.volume(
            cinder_rows.kept_of_volume(
                {
                    **row,
                    cinder_rows.OWNER: row["project_id"],
                    "name": row["display_name"],
                    "updated_at": row["updated_at"] and row["updated_at"].isoformat(),
                    "attachments": hosts.get(row["id"], []),
                    "metadata": metadata.get(row["id"], {}),
                    "volume_image_metadata": image.get(row["id"], {}),
                }
            )
        )
        for row in connection.execute(live).mappings()
    ]


def _neighbours(attachment_ids: list[str], limit: int, connection: sa.Connection) -> dict[str, Neighbours]:
    table = _volume_attachment
    # Cinder's API sorts so, too (cinder/common/sqlalchemyutils.py:paginate_query).
    age = sa.func.coalesce(table.c.created_at, sa.literal(_NO_DATE))
    place = sa.func.row_number().over(order_by=(age, table.c.id)).label("place")
    columns = (table.c.id, table.c.instance_uuid, table.c.volume_id, table.c.attach_status)
    by_age = sa.select(*columns, place).where(*_ATTACHMENTS.conditions).subquery()
    of_ids = sa.select(by_age.c.place, by_age.c.id).where(by_age.c.id.in_(attachment_ids))
    places = {row.place: row.id for row in connection.execute(of_ids)}
    near = sorted({each + step for each in places for step in range(-limit, limit + 1)})
    rows: dict[int, Attachment] = {}
    for start in range(0, len(near), _CHUNK):
        for row in connection.execute(sa.select(by_age).where(by_age.c.place.in_(near[start : start + _CHUNK]))):
            rows[row.place] = Attachment(
                id=row.id, server_id=row.instance_uuid or None, volume_id=row.volume_id, status=row.attach_status
            )
    return {
        ident: Neighbours(
            tuple(rows[each] for each in range(place - 1, place - limit - 1, -1) if each in rows),
            tuple(rows[each] for each in range(place + 1, place + limit + 1) if each in rows),
        )
        for place, ident in places.items()
    }


def _values_of(table: sa.Table, volume_ids: list[str], connection: sa.Connection) -> dict[str, dict[str, str]]:
    statement = sa.select(table.c.volume_id, table.c.key, table.c.value).where(
        table.c.volume_id.in_(volume_ids), table.c.deleted == sa.false()
    )
    found: dict[str, dict[str, str]] = {}
    for volume_id, key, value in connection.execute(statement):
        found.setdefault(volume_id, {})[key] = value
    return found


def _ids(statement: sa.Select[Any], connection: sa.Connection) -> list[str]:
    return list(connection.execute(statement).scalars())
