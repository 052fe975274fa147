# SPDX-License-Identifier: Apache-2.0
"""A disk of a running guest that Nova does not map: found on any host, urgent where somebody else may write to it."""

from __future__ import annotations

from typing import Any

import pytest
from worlds import (
    HOST,
    OTHER_HOST,
    OTHER_SERVER,
    SECOND_VOLUME,
    SERVER,
    VOLUME,
    attachment,
    deleted,
    mapping,
    server,
    tombstone,
    volume,
)

from dedangle.core import ghosts
from dedangle.core.ghosts import Guest, GuestDisk
from dedangle.core.records import Attachment, BlockDeviceMapping, Disk, Reading, Server, Volume


def disk(volume_id: str = VOLUME, source: str = "/dev/sdb", **fields: Any) -> Disk:
    return Disk(volume_id=volume_id, source=source, **{"is_running": True, "is_recognised": False, **fields})


def found(
    one: Server | None, bdms: tuple[BlockDeviceMapping, ...], *disks: Disk, host: str = HOST
) -> list[tuple[str, str]]:
    servers = [one] if one else []
    guests = [Guest(server_id=SERVER, disks=disks)]
    return [(guest.server_id, each.volume_id) for guest, each, _ in ghosts.unexplained(host, guests, servers, bdms)]


@pytest.mark.parametrize(
    ("one", "bdms", "disks", "host"),
    [
        (server(), (tombstone("A"),), (disk(),), HOST),
        (deleted(), (mapping("A"),), (disk(),), HOST),
        (None, (), (disk(),), HOST),
        (server(), (mapping("A"),), (disk(),), OTHER_HOST),
    ],
    ids=["let go", "deleted", "no trace", "on another host"],
)
def test_a_disk_that_no_mapping_explains_is_found(
    one: Server | None, bdms: tuple[BlockDeviceMapping, ...], disks: tuple[Disk, ...], host: str
) -> None:
    assert found(one, bdms, *disks, host=host) == [(SERVER, VOLUME)]


@pytest.mark.parametrize(
    ("one", "bdms", "disks", "host"),
    [
        (server(), (mapping("A"),), (disk(),), HOST),
        (server(), (), (disk(is_running=False),), HOST),
        (server(task_state="migrating"), (mapping("A"),), (disk(),), OTHER_HOST),
        (
            server(),
            (mapping("A", SECOND_VOLUME),),
            (disk(VOLUME, "/dev/new"), disk(SECOND_VOLUME, "/dev/new", is_recognised=True)),
            HOST,
        ),
    ],
    ids=["mapped", "next start", "on its way", "swapped"],
)
def test_a_disk_that_is_explained_is_none(
    one: Server, bdms: tuple[BlockDeviceMapping, ...], disks: tuple[Disk, ...], host: str
) -> None:
    assert found(one, bdms, *disks, host=host) == []


def seen(one: Server | None, shown: Volume, *attachments: Attachment) -> GuestDisk:
    return GuestDisk(
        host=HOST,
        server_id=SERVER,
        disk=disk(),
        server=one,
        bdms=(),
        volume=Reading((shown,)),
        attachments=Reading(attachments),
    )


def test_it_is_urgent_where_somebody_else_may_write_to_the_volume() -> None:
    assert ghosts.judge(seen(server(), volume("available"))).is_urgent
    assert ghosts.judge(seen(server(), volume(), attachment("B", holder=OTHER_SERVER))).is_urgent
    assert not ghosts.judge(seen(server(), volume(), attachment("A"))).is_urgent
    assert not ghosts.judge(seen(server(), volume(multiattach=True))).is_urgent


def test_its_way_out_ends_the_guest_that_nova_does_not_know() -> None:
    assert ghosts.judge(seen(server(), volume("available"))).next == (
        f"openstack server reboot --hard --wait {SERVER}",
    )
    gone = ghosts.judge(seen(deleted(), volume("available")))
    assert gone.next == (f"ssh {HOST} virsh destroy {SERVER}",)
    assert gone.reason.startswith("URGENT: ")
    assert gone.reason.endswith(f"Run: {gone.next[0]}")
