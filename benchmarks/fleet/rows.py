# SPDX-License-Identifier: Apache-2.0
"""Rows of a cloud in Nova's and Cinder's own tables, made inside the database, with planted states of known truth.

Pair k is attachment, volume and mapping 4k; two pairs share a server. 4k+1 to 4k+3 are dead rows, as many of them as
there shall be for each live one.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

_SHARE = 0.0005
# About what the RBD, iSCSI and FC drivers leave in a row.
_NOVA_INFO, _CINDER_INFO, _CONNECTOR, _USER_DATA = 1200, 900, 500, 600


def ident(kind: str, number: int) -> str:
    """The id of the row of this kind and number, as the database's own MD5 makes it."""
    return str(uuid.UUID(hashlib.md5(f"{kind}{number}".encode()).hexdigest()))


def server_of(pair: int, dead: int = 0) -> str:
    return ident("s", 4 * (pair + pair % 2) + dead)


@dataclass(frozen=True)
class Dialect:
    """What differs between the databases."""

    ident: Callable[[str, str], str]
    series: Callable[[int], str]
    """A table with the column k, from 1 on."""


def _mysql_ident(kind: str, number: str) -> str:
    text = f"MD5(CONCAT('{kind}', {number}))"
    for place in (21, 17, 13, 9):
        text = f"INSERT({text}, {place}, 0, '-')"
    return text


DIALECTS = {
    "mysql": Dialect(_mysql_ident, lambda pairs: f"(SELECT seq AS k FROM seq_1_to_{pairs}) ks"),
    "postgresql": Dialect(
        lambda kind, number: f"CAST(CAST(md5('{kind}' || ({number})) AS uuid) AS text)",
        lambda pairs: f"generate_series(1, {pairs}) AS ks(k)",
    ),
    "sqlite": Dialect(
        lambda kind, number: f"ident('{kind}', {number})",
        lambda pairs: (
            f"(WITH RECURSIVE ks(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM ks WHERE k < {pairs}) SELECT k FROM ks) ks"
        ),
    ),
}
DIALECTS["mariadb"] = DIALECTS["mysql"]


def fill(nova: sa.Connection, cinder: sa.Connection, pairs: int, dead: int, first: int = 0) -> None:
    """Make so many healthy pairs and dead rows for each, three at most; primary keys up to `first` are not used."""
    kind = DIALECTS[nova.dialect.name]
    if nova.dialect.name == "mysql":
        # InnoDB then builds an empty table's indexes sorted, some times as fast.
        for each in (nova, cinder):
            each.execute(sa.text("SET SESSION unique_checks = 0, foreign_key_checks = 0"))
    of_a_pair = " UNION ALL ".join(f"SELECT {each} AS d" for each in range(1 + dead))
    series = f"FROM {kind.series(pairs)} CROSS JOIN ({of_a_pair}) ds"
    number, server = "4 * k + d", "4 * (k + k % 2) + d"
    volume_type = cinder.execute(sa.text("SELECT id FROM volume_types")).scalars().first()
    gone = "CASE WHEN d = 0 THEN false ELSE true END"
    time = "'2026-01-01 00:00:00.000000'"
    _insert(
        cinder,
        "volumes",
        {
            "id": kind.ident("v", number),
            "created_at": time,
            "deleted": gone,
            "project_id": "'0123456789abcdef0123456789abcd00'",
            "host": "'cinder-volume-1@rbd#pool'",
            "size": "10",
            "status": "CASE WHEN d = 0 THEN 'in-use' ELSE 'deleted' END",
            "attach_status": "'attached'",
            "display_name": "'a volume of somebody'",
            "display_description": f"'{'d' * 200}'",
            "volume_type_id": f"'{volume_type}'",
            "use_quota": "true",
        },
        f"{series} ORDER BY 1",
    )
    _insert(
        cinder,
        "volume_attachment",
        {
            "id": kind.ident("a", number),
            "created_at": time,
            "deleted": gone,
            "volume_id": kind.ident("v", number),
            "instance_uuid": kind.ident("s", server),
            "attached_host": "'compute-1'",
            "mountpoint": "'/dev/vdb'",
            "attach_status": "CASE WHEN d = 0 THEN 'attached' ELSE 'detached' END",
            "connection_info": _json("c" * _CINDER_INFO),
            "connector": _json("h" * _CONNECTOR),
        },
        f"{series} ORDER BY 1",
    )
    _insert(
        nova,
        "instances",
        {
            "id": f"{first} + 2 * (k - 2) + d + 1",
            "uuid": kind.ident("s", "4 * k + d"),
            "created_at": time,
            "deleted": f"CASE WHEN d = 0 THEN 0 ELSE {first} + 2 * (k - 2) + d + 1 END",
            "project_id": f"REPLACE({kind.ident('p', 'k % 997')}, '-', '')",
            "host": "'compute-1'",
            "vm_state": "CASE WHEN d = 0 THEN 'active' ELSE 'deleted' END",
            "display_name": "'a server of somebody'",
            "user_data": f"'{'u' * _USER_DATA}'",
        },
        f"{series} WHERE k % 2 = 0 ORDER BY 1",
    )
    _insert(
        nova,
        "block_device_mapping",
        {
            "id": f"{first} + 4 * (k - 1) + d + 1",
            "uuid": kind.ident("b", number),
            "created_at": time,
            "deleted": f"CASE WHEN d = 0 THEN 0 ELSE {first} + 4 * (k - 1) + d + 1 END",
            "instance_uuid": kind.ident("s", server),
            "volume_id": kind.ident("v", number),
            "attachment_id": kind.ident("a", number),
            "source_type": "'volume'",
            "destination_type": "'volume'",
            "device_name": "'/dev/vdb'",
            "boot_index": "0",
            "connection_info": _json("c" * _NOVA_INFO),
        },
        f"{series} ORDER BY 1",
    )


def plant(nova: sa.Connection, cinder: sa.Connection, pairs: int, share: float = _SHARE) -> set[str]:
    """Break a share of the pairs, ten at least, in ten ways; return exactly the servers that must be suspects."""
    truth: set[str] = set()
    count = max(len(_WAYS), int(pairs * share))
    for turn in range(count):
        pair = 1 + turn * (pairs // count)
        truth |= _WAYS[turn % len(_WAYS)](nova, cinder, pair)
    if nova.dialect.name == "postgresql":
        # Autovacuum would do it in a minute.
        for each in (nova, cinder):
            each.execute(sa.text("ANALYZE"))
            each.commit()
    return truth


def _cinder(cinder: sa.Connection, table: str, change: str, ident: str) -> None:
    assert cinder.execute(sa.text(f"UPDATE {table} SET {change} WHERE id = '{ident}'")).rowcount == 1


def _mapping(nova: sa.Connection, change: str, pair: int, dead: int = 0) -> None:
    row = ident("b", 4 * pair + dead)
    assert nova.execute(sa.text(f"UPDATE block_device_mapping SET {change} WHERE uuid = '{row}'")).rowcount == 1


def _attachment_lost(nova: sa.Connection, cinder: sa.Connection, pair: int) -> set[str]:
    _cinder(cinder, "volume_attachment", "deleted = true", ident("a", 4 * pair))
    return {server_of(pair)}


def _mapping_lost(nova: sa.Connection, cinder: sa.Connection, pair: int) -> set[str]:
    _mapping(nova, "deleted = id", pair)
    return {server_of(pair)}


def _never_attached(nova: sa.Connection, cinder: sa.Connection, pair: int) -> set[str]:
    _mapping(nova, "attachment_id = NULL", pair)
    return {server_of(pair)}


def _reserved(nova: sa.Connection, cinder: sa.Connection, pair: int) -> set[str]:
    _cinder(cinder, "volume_attachment", "attach_status = 'reserved'", ident("a", 4 * pair))
    return {server_of(pair)}


def _of_another(nova: sa.Connection, cinder: sa.Connection, pair: int) -> set[str]:
    """The attachment is, in Cinder, of a server that was deleted."""
    other = server_of(pair, 1)
    _cinder(cinder, "volume_attachment", f"instance_uuid = '{other}'", ident("a", 4 * pair))
    return {server_of(pair), other}


def _available(nova: sa.Connection, cinder: sa.Connection, pair: int) -> set[str]:
    _cinder(cinder, "volumes", "status = 'available'", ident("v", 4 * pair))
    return {server_of(pair)}


def _volume_gone(nova: sa.Connection, cinder: sa.Connection, pair: int) -> set[str]:
    _cinder(cinder, "volumes", "deleted = true", ident("v", 4 * pair))
    return {server_of(pair)}


def _mapped_twice(nova: sa.Connection, cinder: sa.Connection, pair: int) -> set[str]:
    same = f"attachment_id = '{ident('a', 4 * pair)}', volume_id = '{ident('v', 4 * pair)}'"
    _mapping(nova, f"deleted = 0, instance_uuid = '{server_of(pair)}', {same}", pair, dead=1)
    return {server_of(pair)}


def _server_gone(nova: sa.Connection, cinder: sa.Connection, pair: int) -> set[str]:
    nova.execute(sa.text(f"UPDATE instances SET deleted = id WHERE uuid = '{server_of(pair)}'"))
    return {server_of(pair)}


def _without_server(nova: sa.Connection, cinder: sa.Connection, pair: int) -> set[str]:
    """An attachment of the Glance store: no server may be a suspect."""
    _cinder(cinder, "volume_attachment", "deleted = false, instance_uuid = NULL", ident("a", 4 * pair + 1))
    return set()


_WAYS = (
    *(_attachment_lost, _mapping_lost, _never_attached, _reserved, _of_another, _available, _volume_gone),
    *(_mapped_twice, _server_gone, _without_server),
)


def _json(text: str) -> str:
    """As Cinder's API, which decodes it, can read it."""
    return f"""'{{"data": "{text}"}}'"""


def _insert(connection: sa.Connection, table: str, columns: dict[str, str], source: str) -> None:
    selected = ", ".join(columns.values())
    connection.execute(sa.text(f"INSERT INTO {table} ({', '.join(columns)}) SELECT {selected} {source}"))
    connection.commit()
