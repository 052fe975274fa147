# SPDX-License-Identifier: Apache-2.0
"""What gives a server its volume back: only on proof or without a guest, and only from nobody else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from test_properties import worlds
from worlds import (
    HOST,
    LONG_AGO,
    OTHER_HOST,
    OTHER_SERVER,
    SERVER,
    VOLUME,
    World,
    attachment,
    changes,
    findings,
    mapping,
    never_attached,
    never_launched,
    offloaded,
    policy,
    removals,
    repairs,
    server,
    stopped,
    volume,
    with_ways_out,
)

from dedangle.core import addresses
from dedangle.core.decisions import Door, Finding, Remedy
from dedangle.core.records import Disk, Server

CLEANUP = f"dedangle cleanup {SERVER}"
GET_CONNECTOR = f"ssh {HOST} nova-manage volume_attachment get_connector --json > connector.json"
REATTACH = policy(Door.COMMAND, reattach=True)
BY_FILE = policy(Door.COMMAND, reattach=True, connector_host=HOST)

LOST = World(servers=(server(),), mappings=(mapping("A"),), volumes=(volume("available"),), thorough=True)
IN_USE = LOST.but(guests={HOST: (VOLUME,)}, host_acts=True)
TWO = World(
    servers=(server(),),
    mappings=(mapping("R"),),
    attachments=(attachment("A"), attachment("R", "reserved")),
    volumes=(volume(),),
    connected={"A": HOST},
    guests={HOST: (VOLUME,)},
    host_acts=True,
    thorough=True,
)
DETACHING = World(
    servers=(server(),),
    mappings=(mapping("A"),),
    attachments=(attachment("A"),),
    volumes=(volume("detaching"),),
    connected={"A": HOST},
    guests={HOST: (VOLUME,)},
    thorough=True,
)


def remedies(world: World, how: Any) -> list[tuple[str, str]]:
    return [(each.remedy.value, each.disposition.value) for each in repairs(world, policy=how)]


def ways(world: World) -> dict[str, tuple[str, ...]]:
    return {each.code: each.next for each in with_ways_out(world)}


@pytest.mark.parametrize(
    ("world", "how"),
    [
        (IN_USE, REATTACH),
        (LOST.but(cinder_is_behind=("neighbours are lost",)), BY_FILE),
        (LOST.but(servers=(stopped(),)), BY_FILE),
        (LOST.but(servers=(stopped(),), host_acts=True), REATTACH),
        (LOST.but(servers=(offloaded(),)), REATTACH),
        (LOST.but(servers=(stopped(),), mappings=(mapping("A", boot_index=0),)), BY_FILE),
        (LOST, policy(Door.COMMAND, reattach=True, restart=True, connector_host=HOST)),
        (IN_USE.but(attachments=(attachment("B", "reserved"),), volumes=(volume("reserved"),)), REATTACH),
        (
            IN_USE.but(attachments=(attachment("B"),), volumes=(volume(),), connected={"B": HOST}, host_acts=False),
            REATTACH,
        ),
        (IN_USE.but(volumes=(volume(multiattach=True),)), REATTACH),
    ],
)
def test_a_lost_attachment_is_restored(world: World, how: Any) -> None:
    assert remedies(world, how) == [("restore-attachment", "restore")]


@pytest.mark.parametrize(
    ("world", "how"),
    [
        (IN_USE, policy(Door.COMMAND)),
        (IN_USE, policy(Door.SWEEP, reattach=True)),
        (IN_USE.but(host_acts=False), REATTACH),
        (IN_USE.but(host_acts=False), policy(Door.COMMAND, reattach=True, connector_host=OTHER_HOST)),
        (LOST.but(guests={HOST: ()}, cinder_is_behind=("neighbours are lost",)), BY_FILE),
        (LOST, BY_FILE),
        (
            IN_USE.but(guests={HOST: (Disk(volume_id=VOLUME, source="/x", is_running=True, is_recognised=False),)}),
            BY_FILE,
        ),
        (IN_USE.but(volumes=()), REATTACH),
        (IN_USE.but(volumes=(volume("error"),)), REATTACH),
        (IN_USE.but(attachments=(attachment("B", holder=OTHER_SERVER),), volumes=(volume(),)), REATTACH),
        (
            IN_USE.but(attachments=(attachment("B"),), volumes=(volume(),), connected={"B": OTHER_HOST}),
            REATTACH,
        ),
    ],
)
def test_a_lost_attachment_is_not_restored(world: World, how: Any) -> None:
    assert repairs(world, policy=how) == ()


def test_with_reattach_nothing_of_a_server_is_removed_that_could_be_restored() -> None:
    how = policy(Door.COMMAND, reattach=True, no_host=True, restart=True, allow_root=True)
    assert [each.disposition.value for each in changes(LOST.but(host_acts=True), policy=how)] == ["restore"]


def test_the_way_out_of_a_volume_in_use_takes_no_downtime() -> None:
    assert ways(IN_USE) == {"attachment-lost-in-use": (f"{CLEANUP} --reattach --execute",)}
    behind = LOST.but(cinder_is_behind=("neighbours are lost",))
    by_file = (GET_CONNECTOR, f"{CLEANUP} --reattach --connector connector.json --execute")
    assert ways(behind) == {"attachment-lost-in-use": by_file}
    stuck = behind.but(volumes=(volume(),))
    set_state = f"openstack volume set --state available {VOLUME}"
    assert ways(stuck)["attachment-lost-in-use"] == (GET_CONNECTOR, set_state, by_file[1])


def test_what_was_in_use_stays_so_when_its_neighbours_are_back() -> None:
    behind = LOST.but(cinder_is_behind=("neighbours are lost",))
    (found,) = findings(behind)
    sightings = {found.key: LONG_AGO}
    assert [each.code for each in findings(LOST, first_seen=sightings.get)] == ["attachment-lost-in-use"]
    assert [each.remedy.value for each in repairs(LOST, policy=BY_FILE, first_seen=sightings.get)] == [
        "restore-attachment"
    ]
    unused = LOST.but(guests={HOST: ()}, host_acts=True)
    assert [each.code for each in findings(unused, first_seen=sightings.get)] == ["mapping-without-attachment"]
    later = LOST.but(mappings=(mapping("A", version="2026-07-02 00:00:00"),))
    assert [each.code for each in findings(later, first_seen=sightings.get)] == ["mapping-without-attachment"]


# Each attach, detach and reset changes the row of the volume. One that is older than the mapping is from a backup.
RESTORED = LOST.but(volumes=(volume("available", updated_at=LONG_AGO - timedelta(days=1)),))


@pytest.mark.parametrize("one", [server(), stopped(), server("paused"), server("error")])
def test_a_volume_that_cinder_knows_from_before_the_mapping_is_given_back(one: Server) -> None:
    last_one = RESTORED.but(servers=(one,))
    assert [each.code for each in findings(last_one)] == ["attachment-lost-in-use"]
    for door in Door:
        assert removals(last_one, policy=policy(door, no_host=True, restart=True)) == ()
    assert ways(last_one)["attachment-lost-in-use"] == (
        GET_CONNECTOR,
        f"{CLEANUP} --reattach --connector connector.json --execute",
    )


@pytest.mark.parametrize(
    "world",
    [
        RESTORED.but(guests={HOST: ()}, host_acts=True),
        LOST.but(volumes=(volume("available", updated_at=LONG_AGO),)),
        RESTORED.but(servers=(never_launched(),), mappings=(mapping("A", has_connection_info=False),)),
        RESTORED.but(mappings=(mapping("A", created_at=None),)),
    ],
    ids=["unused", "younger", "never-launched", "unknown"],
)
def test_an_ordinary_loss_is_cleaned(world: World) -> None:
    (found,) = with_ways_out(world)
    assert found.remedy is Remedy.REMOVE_MAPPING
    assert "--reattach" not in " ".join(found.next)


def test_a_root_disk_is_given_back_rather_than_taken() -> None:
    root = LOST.but(mappings=(mapping("A", boot_index=0),))
    assert ways(root)["mapping-without-attachment"] == (
        GET_CONNECTOR,
        f"{CLEANUP} --reattach --restart --connector connector.json --execute",
    )
    assert ways(root.but(servers=(offloaded(),)))["mapping-without-attachment"] == (f"{CLEANUP} --reattach --execute",)


def test_a_mapping_comes_to_name_the_connected_one_of_two() -> None:
    relink = policy(Door.COMMAND, relink=True)
    assert [(each.code, each.attachment.id) for each in repairs(TWO, policy=relink) if each.attachment] == [
        ("mapping-names-reservation", "A")
    ]
    assert [each.code for each in findings(TWO)] == ["mapping-names-reservation"]
    assert ways(TWO) == {"mapping-names-reservation": (f"{CLEANUP} --relink --execute",)}
    assert repairs(TWO.but(guests={}), policy=relink) == ()
    assert repairs(TWO.but(guests={}, servers=(stopped(),)), policy=relink) != ()
    assert repairs(TWO.but(connected={"A": OTHER_HOST}), policy=relink) == ()


def test_a_mapping_without_an_attachment_comes_to_name_the_connected_one() -> None:
    half = TWO.but(mappings=(never_attached(),), attachments=(attachment("A"),), guests={}, host_acts=False)
    stop = [line for line in ways(half)["attach-half-made"] if not line.startswith("until")]
    assert stop == [
        f"openstack server stop {SERVER}",
        f"{CLEANUP} --relink --execute",
        f"openstack server start {SERVER}",
    ]
    assert repairs(half, policy=policy(Door.COMMAND, relink=True)) == ()
    off = half.but(servers=(stopped(),))
    assert [each.remedy.value for each in repairs(off, policy=policy(Door.COMMAND, relink=True))] == ["relink-mapping"]


def test_a_half_done_migration_ends_where_the_guest_runs() -> None:
    moved = TWO.but(
        mappings=(mapping("B"),),
        attachments=(attachment("A"), attachment("B")),
        connected={"A": HOST, "B": OTHER_HOST},
        guests={HOST: (VOLUME,), OTHER_HOST: ()},
    )
    assert ways(moved) == {"migration-half-done": (f"{CLEANUP} --relink --execute",)}
    alone = moved.but(
        attachments=(attachment("B"),),
        connected={"B": OTHER_HOST},
        servers=(stopped(),),
        guests={HOST: (), OTHER_HOST: ()},
    )
    assert ways(alone)["migration-half-done"] == (
        GET_CONNECTOR,
        f"nova-manage volume_attachment refresh {SERVER} {VOLUME} connector.json",
    )


MOVED = TWO.but(
    mappings=(mapping("B"),),
    attachments=(attachment("A"), attachment("B")),
    connected={"A": HOST, "B": OTHER_HOST},
)
BY_HAND = MOVED.but(attachments=(attachment("B"),), connected={"B": OTHER_HOST})


@pytest.mark.parametrize("one", [server(), stopped()], ids=["running", "stopped"])
@pytest.mark.parametrize("world", [MOVED, BY_HAND], ids=["relink", "refresh"])
def test_no_second_guest_is_started_while_one_runs_on_another_host(world: World, one: Server) -> None:
    split = world.but(servers=(one,), guests={HOST: (), OTHER_HOST: (VOLUME,)})
    assert repairs(split, policy=policy(Door.COMMAND, relink=True)) == ()
    assert ways(split)["migration-half-done"] == (
        f"ssh {OTHER_HOST} virsh -c qemu:///system shutdown {SERVER}",
        f"until ssh {OTHER_HOST} 'virsh -c qemu:///system list && "
        f"! virsh -c qemu:///system list --uuid | grep -q {SERVER}'; do sleep 2; done",
    )
    # Once that guest has ended, the way of the migration itself is open.
    ended = ways(split.but(guests={HOST: (), OTHER_HOST: ()}))["migration-half-done"]
    assert not any("virsh" in line for line in ended)
    assert any("--relink" in line or "refresh" in line for line in ended)


@pytest.mark.parametrize("one", [server(), stopped()], ids=["running", "stopped"])
@pytest.mark.parametrize("world", [MOVED, BY_HAND], ids=["relink", "refresh"])
def test_a_silent_host_is_asked_before_a_server_is_started_on_its_own(world: World, one: Server) -> None:
    silent = ways(world.but(servers=(one,), guests={}))["migration-half-done"]
    assert silent[0].startswith(
        f"ssh {OTHER_HOST} 'virsh -c qemu:///system list && ! virsh -c qemu:///system dominfo {SERVER}' && "
    )


def test_a_stuck_detach_is_rolled_back_where_the_guest_has_the_disk() -> None:
    assert remedies(DETACHING, policy(Door.COMMAND)) == [("roll-back-detach", "restore")]
    assert ways(DETACHING) == {"transition-stuck": (f"{CLEANUP} --execute",)}
    assert repairs(DETACHING, door=Door.SWEEP) == ()
    for guests in ({}, {HOST: ()}):
        assert repairs(DETACHING.but(guests=guests), door=Door.COMMAND) == ()
        by_hand = (f"openstack volume set --state in-use {VOLUME}",)
        assert ways(DETACHING.but(guests=guests))["transition-stuck"][:1] == by_hand


def is_unfounded(world: World, finding: Finding) -> bool:
    """What no repair may rest on, on the raw world: a guest that was not seen, a volume that somebody else holds."""
    living = next((each for each in world.servers if not each.deleted), None)
    seen = any(
        isinstance(disk, Disk) and disk.volume_id == finding.volume_id and disk.is_running and disk.is_recognised
        for disk in world.guests.get((living.host if living else None) or "", ())
    )
    off = living is not None and (living.is_stopped or living.is_without_host)
    told = bool(world.cinder_is_behind) and finding.remedy.value == "restore-attachment"
    is_multiattach = any(each.multiattach for each in world.volumes if each.id == finding.volume_id)
    taken = finding.remedy.value == "restore-attachment" and not is_multiattach
    held = any(each.volume_id == finding.volume_id and each.server_id != SERVER for each in world.attachments)
    return living is None or not (seen or off or told) or (taken and held)


@settings(max_examples=400, deadline=None)
@given(worlds)
def test_no_repair_is_unfounded(world: World) -> None:
    how = policy(Door.COMMAND, reattach=True, relink=True, connector_host=HOST)
    assert not any(is_unfounded(world, each) for each in repairs(world, policy=how) if each.attachment is None)
    assert repairs(world, policy=policy(Door.SWEEP, reattach=True, relink=True)) == ()


ISCSI = {
    "target_iqn": "iqn.2010-10.org:volume-1",
    "target_lun": 1,
    "target_portal": "10.0.0.1:3260",
    "auth_password": "a",
}


@pytest.mark.parametrize(
    ("kept", "new", "is_same"),
    [
        (ISCSI, {**ISCSI, "target_portal": "10.0.0.2:3260", "auth_password": "b"}, True),
        ({**ISCSI, "device_path": "/dev/sdb"}, ISCSI, True),
        ({**ISCSI, "device_path": "/dev/sdb"}, {**ISCSI, "target_lun": 2, "device_path": "/dev/sdb"}, False),
        (ISCSI, {**ISCSI, "target_iqn": "iqn.2010-10.org:volume-2"}, False),
        ({"access_mode": "rw"}, {"access_mode": "rw"}, True),
        ({"access_mode": "rw"}, ISCSI, False),
    ],
)
def test_two_connections_are_the_same_by_their_address(kept: Any, new: Any, is_same: bool) -> None:
    one, other = ({"driver_volume_type": "iscsi", "data": data} for data in (kept, new))
    assert addresses.is_same(one, other) is is_same
    assert not addresses.is_same(one, {**other, "driver_volume_type": "rbd"})
