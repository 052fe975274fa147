# SPDX-License-Identifier: Apache-2.0
"""Suspects are judged with rows of a bulk read, but nothing that is younger than it is judged by it."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, cast

import pytest

from dedangle.core import packing
from dedangle.core.case import Policy
from dedangle.core.decisions import Door
from dedangle.core.observations import NovaView
from dedangle.core.records import Attachment, BlockDeviceMapping, Link, Reading, Server, Volume
from dedangle.core.sharding import WHOLE, Shard
from dedangle.reconcile.screen import Gathered
from dedangle.reconcile.server import Judged, Reconciler
from dedangle.reconcile.suspects import Suspects
from dedangle.systems import ports
from dedangle.systems.ports import Neighbours

BEGAN = datetime(2026, 1, 2, 3, 4, tzinfo=timezone.utc)


def ident(number: int) -> str:
    return str(uuid.UUID(int=number))


SERVER, LOST = ident(1), ident(2)
OTHERS = range(10, 14)
OLD, NEW = BEGAN - timedelta(days=1), BEGAN + timedelta(minutes=1)


def attachment(number: int) -> Attachment:
    return Attachment(id=ident(number), server_id=ident(100 + number), volume_id=ident(200 + number), status="attached")


@dataclasses.dataclass
class Nova:
    """One server whose mapping names a lost attachment, and links of other servers."""

    changed_at: datetime = OLD
    volume_id: str = ident(3)

    def read_live(self, server_id: str) -> NovaView:
        return self.observe(server_id)

    def observe(self, server_id: str) -> NovaView:
        bdm = BlockDeviceMapping(
            id=1,
            uuid="bdm",
            cell="cell1",
            server_id=SERVER,
            volume_id=self.volume_id,
            attachment_id=LOST,
            has_connection_info=True,
            created_at=OLD,
            changed_at=self.changed_at,
        )
        server = Server(id=SERVER, cell="cell1", project_id="p1", vm_state="active", launched_at=OLD)
        return NovaView(server_id=server_id, servers=(server,), mappings=(bdm,))

    def observe_many(self, server_ids: Collection[str]) -> dict[str, NovaView]:
        return {each: self.observe(each) for each in server_ids}

    def links(self, *_: object) -> Reading[Link]:
        found = [attachment(number) for number in OTHERS]
        return Reading(
            tuple(
                Link(
                    server_id=each.server_id or "",
                    volume_id=each.volume_id,
                    attachment_id=each.id,
                    cell="cell1",
                    number=number,
                    project_id="p2",
                )
                for number, each in zip(OTHERS, found, strict=True)
            )
        )

    def links_of_many(self, near: Mapping[str, Any]) -> dict[str, Reading[Link]]:
        return {each: self.links() for each in near}

    def other_servers_bdms(self, *_: object) -> Reading[BlockDeviceMapping]:
        return Reading()

    def servers(self, *_: object) -> Reading[Server]:
        return Reading()

    def knows(self, *_: object) -> Reading[str]:
        return Reading()

    def archived_bdms(self, *_: object) -> Reading[BlockDeviceMapping]:
        return Reading()


@dataclasses.dataclass
class Cinder:
    """Has the attachments of the other servers; notes the requests."""

    project_id: str = "p1"
    requests: list[str] = dataclasses.field(default_factory=list)

    def attachments_of_server(self, server_id: str, _: object) -> ports.Listing:
        self.requests.append(f"server {server_id}")
        return ports.Listing(Reading(), Reading)

    def attachments_of_volume(self, volume_id: str) -> Reading[Attachment]:
        self.requests.append(f"volume {volume_id}")
        return Reading(tuple(each for each in map(attachment, OTHERS) if each.volume_id == volume_id))

    def attachment(self, attachment_id: str) -> Reading[Attachment]:
        self.requests.append(f"attachment {attachment_id}")
        return Reading()

    def volume(self, volume_id: str) -> Reading[Volume]:
        return Reading((Volume(id=volume_id, status="available"),))


class Bulk:
    def volumes(self, volume_ids: Collection[str]) -> Reading[Volume]:
        return Reading(tuple(Volume(id=each, status="available") for each in volume_ids))

    def neighbours_of_many(self, _ids: Collection[str], _limit: int) -> dict[str, Neighbours]:
        return {}


class Hosts:
    def disks(self, *_: object) -> Reading[Any]:
        return Reading.unread("no host answers")

    def may_answer(self, _: object) -> bool:
        return False

    def acts(self, _: object) -> bool:
        return False


def judge(nova: Nova, cinder: Cinder, listed: Iterable[int], shard: Shard = WHOLE, times: int = 1) -> Judged:
    """Judge the server, with the same rows each time; the bulk read has listed the numbered attachments."""
    reconciler = Reconciler(
        nova=cast(Any, nova),
        cinder=cast(Any, cinder),
        hosts=cast(Any, Hosts()),
        policy=Policy(door=Door.SWEEP, grace=timedelta()),
        clock=lambda: BEGAN + timedelta(minutes=30),
        first_seen=lambda _: None,
    )
    rows = [attachment(number) for number in listed]
    packed = packing.rows_of(((row.id, row.server_id, row.volume_id), packing.status_byte(row.status)) for row in rows)
    with Gathered(shard) as gathered:
        gathered.take([packing.Attachments(packed)])
        suspects = Suspects(cast(Any, nova), cast(Any, Bulk()), gathered, reconciler, BEGAN)
        ((server_id, audit),) = suspects.auditors([SERVER])
        return [audit(server_id) for _ in range(times)][-1]


def test_a_suspect_costs_one_request() -> None:
    cinder = Cinder()
    judged = judge(Nova(), cinder, OTHERS)
    assert [finding.code for finding in judged.findings] == ["mapping-without-attachment"]
    assert cinder.requests == [f"attachment {LOST}"]


@pytest.mark.parametrize("changed_at", [NEW, BEGAN - timedelta(minutes=1)])
def test_a_server_that_changed_since_the_bulk_read_is_read_alone(changed_at: datetime) -> None:
    cinder = Cinder()
    judge(Nova(changed_at), cinder, OTHERS)
    assert f"server {SERVER}" in cinder.requests


def test_attachments_that_are_younger_than_the_bulk_read_are_not_lost() -> None:
    cinder = Cinder()
    judged = judge(Nova(), cinder, [])
    assert judged.seen.cinder_is_behind == ()
    assert judged.seen.cinder.attachments.complete
    assert {each for each in cinder.requests if each.startswith("volume ")} <= {
        f"volume {attachment(number).volume_id}" for number in OTHERS
    }


def test_control_reads_check_the_same_link_once() -> None:
    cinder = Cinder()
    judge(Nova(), cinder, [], times=2)
    checked = [each for each in cinder.requests if each.startswith("volume ")]
    assert checked
    assert len(checked) == len(set(checked))


def test_a_shard_has_not_read_all_attachments_of_a_volume() -> None:
    cinder = Cinder()
    shard = next(each for each in (Shard(1, 2), Shard(2, 2)) if each.holds(SERVER))
    judge(Nova(), cinder, OTHERS, shard)
    assert f"volume {ident(3)}" in cinder.requests


def test_a_volume_whose_id_is_in_capitals_is_requested() -> None:
    # MySQL finds the attachments of the volume by both spellings, and the bulk read keeps only one.
    cinder, volume_id = Cinder(), str(uuid.UUID(int=0xABCDEF)).upper()
    judge(Nova(volume_id=volume_id), cinder, OTHERS)
    assert f"volume {volume_id}" in cinder.requests


def test_a_sweep_keeps_what_a_removal_needs_and_no_rows() -> None:
    judged = judge(Nova(), Cinder(), OTHERS)
    kept = judged.without_rows()
    assert (kept.findings, kept.changes, kept.server) == (judged.findings, judged.changes, judged.server)
    assert (kept.unread, kept.seen.server_id) == (judged.unread, SERVER)
    assert kept.seen.after.mappings == ()
