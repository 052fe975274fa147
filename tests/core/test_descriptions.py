# SPDX-License-Identifier: Apache-2.0
"""A finding names server and volume for people, and no decision depends on these names."""

from __future__ import annotations

import dataclasses

import pytest
from table_dangling import DANGLING_ROWS
from table_rows import KEPT_ROWS, Row
from worlds import (
    HOST,
    OTHER_HOST,
    VOLUME,
    World,
    attachment,
    deleted,
    findings,
    mapping,
    server,
    volume,
    with_ways_out,
)

from dedangle.core.judging import ownerless
from dedangle.core.rows import DESCRIPTION, finding_row


def named(world: World, suffix: str) -> World:
    return world.but(
        servers=tuple(dataclasses.replace(each, name=f"web{suffix}") for each in world.servers),
        volumes=tuple(dataclasses.replace(each, name=f"data{suffix}", size=len(suffix)) for each in world.volumes),
    )


def test_a_finding_describes_its_server_and_volume() -> None:
    world = World(servers=(deleted(name="web-1"),), mappings=(mapping("A"),), volumes=(volume(name="data", size=20),))
    (finding,) = findings(world)
    row = finding_row(finding)
    assert [row[name] for name in DESCRIPTION] == ["web-1", "deleted", "data", 20, None]


def test_a_finding_tells_what_each_host_that_answered_shows() -> None:
    world = World(servers=(server(),), mappings=(mapping("A"),), volumes=(volume(),))
    (finding,) = findings(world.but(guests={HOST: (VOLUME,), OTHER_HOST: ()}))
    side = {"host": HOST, "domain": "running", "target": "", "source": f"/dev/{VOLUME}", "source_kind": "", "wwn": ""}
    assert finding_row(finding)["host_side"] == [side]
    (finding,) = findings(world.but(guests={HOST: ()}))
    assert finding_row(finding)["host_side"] == []
    (finding,) = findings(world.but(silent_hosts=frozenset({HOST})))
    assert finding_row(finding)["host_side"] is None


def test_what_was_not_read_is_null() -> None:
    silent = World(servers=(server(),), mappings=(mapping("A"),), silent=frozenset({"volume"}))
    for finding in (*findings(silent), ownerless(attachment("A", holder=None))):
        row = finding_row(finding)
        assert [row[name] for name in ("server_name", "volume_name", "volume_size")] == [None] * 3


@pytest.mark.parametrize("row", [*DANGLING_ROWS, *KEPT_ROWS], ids=lambda row: row.id)
def test_a_rename_changes_no_finding(row: Row) -> None:
    before, after = (with_ways_out(named(row.world, suffix)) for suffix in ("", "-renamed"))
    assert before == after
    assert [finding.key for finding in before] == [finding.key for finding in after]
    assert {finding.server_name for finding in after} <= {"web-renamed", None}
