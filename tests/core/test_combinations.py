# SPDX-License-Identifier: Apache-2.0
"""Two faults of one server at once: each has commands that act, and neither hides the way out of the other."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from core.worlds import (
    HOST,
    OTHER_HOST,
    OTHER_SERVER,
    SECOND_VOLUME,
    SERVER,
    SHUTDOWN,
    VOLUME,
    World,
    attachment,
    changes,
    deleted,
    findings,
    mapping,
    never_attached,
    never_launched,
    offloaded,
    policy,
    removals,
    server,
    stopped,
    tombstone,
    volume,
    with_ways_out,
)
from dedangle.core.decisions import Door
from dedangle.core.manual import no_running_guest_on
from dedangle.core.records import Attachment, Server

CLEANUP = f"dedangle cleanup {SERVER}"
STOP = (
    f"openstack server stop {SERVER}",
    f'until [ "$(openstack server show -f value -c status {SERVER})" = SHUTOFF ]; do sleep 2; done',
)
ACTIVE = f'until [ "$(openstack server show -f value -c status {SERVER})" = ACTIVE ]; do sleep 2; done'
START = f"openstack server start {SERVER}"
GET_CONNECTOR = f"ssh {HOST} nova-manage volume_attachment get_connector --json > connector.json"
REFRESH = f"nova-manage volume_attachment refresh {SERVER} {VOLUME} connector.json"
CHECK = f"ssh {OTHER_HOST} 'virsh -c qemu:///system list && ! virsh -c qemu:///system dominfo {SERVER}' && "
REATTACH = policy(Door.COMMAND, reattach=True, connector_host=HOST)

ONE = World(servers=(server(),), thorough=True)
LOST = ONE.but(mappings=(mapping("A"),), volumes=(volume("available"),))
ROOT_LOST = LOST.but(mappings=(mapping("A", boot_index=0),))
RESERVED = ONE.but(mappings=(mapping("R"),), attachments=(attachment("R", "reserved"),), volumes=(volume("reserved"),))
HALF_MOVED = ONE.but(
    mappings=(mapping("B"),), attachments=(attachment("B"),), volumes=(volume(),), connected={"B": OTHER_HOST}
)
UNCONNECTED = ONE.but(
    mappings=(mapping("A", has_connection_info=False),),
    attachments=(attachment("A"),),
    volumes=(volume(),),
    connected={"A": HOST},
)


def ways(world: World) -> dict[tuple[str, str], tuple[str, ...]]:
    return {(each.volume_id, each.code): each.next for each in with_ways_out(world) if each.code != "consistent"}


def way(world: World) -> tuple[str, ...]:
    (found,) = ways(world).values()
    return found


@pytest.mark.parametrize("vm_state", ["paused", "suspended", "rescued", "error", "shelved", "resized", "active"])
@pytest.mark.parametrize("world", [RESERVED, HALF_MOVED, UNCONNECTED, ROOT_LOST], ids=["r", "moved", "bare", "root"])
def test_no_state_of_a_server_makes_the_judgement_fail(world: World, vm_state: str) -> None:
    assert ways(world.but(servers=(server(vm_state),)))


@pytest.mark.parametrize(
    ("vm_state", "before"),
    [
        ("paused", (f"openstack server unpause {SERVER}", ACTIVE)),
        ("suspended", (f"openstack server resume {SERVER}", ACTIVE)),
        ("rescued", (f"openstack server unrescue {SERVER}", ACTIVE)),
        ("error", ()),
    ],
)
def test_a_server_that_is_neither_running_nor_stopped_is_stopped_for_its_new_connection(
    vm_state: str, before: tuple[str, ...]
) -> None:
    one = server(vm_state)
    refreshed = (*before, *STOP, GET_CONNECTOR, REFRESH, START)
    assert way(RESERVED.but(servers=(one,))) == refreshed
    moved = way(HALF_MOVED.but(servers=(one,)))
    assert moved == (CHECK + refreshed[0], *refreshed[1:])
    assert way(UNCONNECTED.but(servers=(one,)))[-1] in (START, f"openstack server reboot --hard --wait {SERVER}")


def test_a_shelved_server_gets_new_attachments_when_it_is_offloaded() -> None:
    shelved = server("shelved", power_state=SHUTDOWN)
    offload = (f"openstack server shelve --offload --wait {SERVER}",)
    for world in (RESERVED, UNCONNECTED):
        assert way(world.but(servers=(shelved,))) == offload
    # Its guest is off, as that of a stopped server.
    assert way(LOST.but(servers=(shelved,))) == (f"{CLEANUP} --no-host --execute",)
    released = ONE.but(
        servers=(shelved,), tombstones=(tombstone("A"),), attachments=(attachment("A"),), volumes=(volume(),)
    )
    assert way(released.but(connected={"A": HOST})) == (f"{CLEANUP} --execute",)


@pytest.mark.parametrize("acts", [False, True])
def test_the_root_disk_of_a_server_in_error_is_given_back_rather_than_taken(acts: bool) -> None:
    found = way(ROOT_LOST.but(servers=(server("error"),), host_acts=acts))
    connector = () if acts else (GET_CONNECTOR,)
    by_file = "" if acts else " --connector connector.json"
    assert found == (*STOP, *connector, f"{CLEANUP} --reattach{by_file} --execute", START)


@pytest.mark.parametrize("status", ["in-use", "reserved", "error", "error_extending"])
def test_a_volume_in_use_comes_back_from_a_status_that_nothing_explains(status: str) -> None:
    seen = LOST.but(volumes=(volume(status),), guests={HOST: (VOLUME,)}, host_acts=True)
    assert ways(seen)[VOLUME, "attachment-lost-in-use"] == (
        f"openstack volume set --state available {VOLUME}",
        f"{CLEANUP} --reattach --execute",
    )


@pytest.mark.parametrize("known", [{"guests": {HOST: (VOLUME,)}, "host_acts": True}, {"cinder_is_behind": ("lost",)}])
def test_no_command_removes_a_disk_in_use_whose_volume_cinder_does_not_have(known: dict[str, Any]) -> None:
    (found,) = with_ways_out(LOST.but(volumes=(), **known))
    assert (found.code, found.next) == ("attachment-lost-in-use", ())
    assert "cinder manage" in found.advice


def test_a_left_attachment_of_a_mapped_volume_does_not_hide_the_loss_of_another_volume() -> None:
    both = ONE.but(
        mappings=(mapping("A"), mapping("X", SECOND_VOLUME)),
        attachments=(attachment("A"), attachment("B")),
        volumes=(volume(), volume("available", SECOND_VOLUME)),
        connected={"A": HOST, "B": OTHER_HOST},
    )
    found = ways(both)
    restart = (f"{CLEANUP} --restart --no-host --execute",)
    assert found[SECOND_VOLUME, "mapping-without-attachment"] == restart
    # No attachment of the server goes before that.
    assert found[VOLUME, "attachment-left-by-migration"] == restart
    assert not removals(both, policy=policy(Door.COMMAND, no_host=True, names_volume=True))
    # An attachment of a volume that nothing maps may be the new one of a swap.
    swapped = both.but(mappings=(mapping("X", SECOND_VOLUME),), attachments=(attachment("B"),))
    assert (SECOND_VOLUME, "mapping-names-lost-attachment") in ways(swapped)


@pytest.mark.parametrize("of", [VOLUME, SECOND_VOLUME])
def test_an_attach_that_failed_does_not_keep_a_lost_mapping(of: str) -> None:
    failed = LOST.but(
        attachments=(attachment("F", "error_attaching", of),),
        volumes=(volume("available"), volume("error_attaching", SECOND_VOLUME)),
    )
    found = ways(failed)
    assert found[VOLUME, "mapping-without-attachment"] == (f"{CLEANUP} --restart --no-host --execute",)
    assert found[of, "attachment-failed"] == found[VOLUME, "mapping-without-attachment"]


def test_a_mapping_names_the_one_that_is_connected_on_its_host_of_several() -> None:
    three = ONE.but(
        mappings=(mapping("R"),),
        attachments=(attachment("R", "reserved"), attachment("A"), attachment("B")),
        volumes=(volume(),),
        connected={"A": HOST, "B": OTHER_HOST},
    )
    assert ways(three)[VOLUME, "mapping-names-reservation"] == (
        CHECK + STOP[0],
        STOP[1],
        f"{CLEANUP} --relink --execute",
        START,
    )
    seen = three.but(guests={HOST: (VOLUME,), OTHER_HOST: ()}, host_acts=True)
    assert ways(seen)[VOLUME, "mapping-names-reservation"] == (f"{CLEANUP} --relink --execute",)
    assert [each.attachment_id for each in changes(seen, policy=policy(Door.COMMAND, relink=True))] == ["R"]
    elsewhere = three.but(guests={HOST: (), OTHER_HOST: (VOLUME,)}, host_acts=True)
    assert not changes(elsewhere, policy=policy(Door.COMMAND, relink=True))
    for both in ({"A": HOST, "B": HOST}, {"A": HOST}, {}):
        unsure = three.but(connected=both)
        assert not changes(unsure, policy=policy(Door.COMMAND, relink=True, no_host=True))
        # The volume is in-use already, so that setting it would change nothing.
        assert not any("volume set" in line for lines in ways(unsure).values() for line in lines)


def test_half_an_attach_with_several_reservations_or_a_failed_one_has_a_way_out() -> None:
    half = ONE.but(mappings=(never_attached(),), volumes=(volume("reserved"),))
    two = half.but(attachments=(attachment("P", "reserved"), attachment("Q", "reserved")))
    assert way(two) == (f"{CLEANUP} --execute",)
    failed = half.but(attachments=(attachment("F", "error_attaching"),), volumes=(volume("available"),))
    assert ways(failed) == {(VOLUME, "attachment-failed"): (f"{CLEANUP} --restart --execute",)}
    assert removals(failed) == ()


def test_no_status_is_set_of_a_volume_that_cinder_does_not_have() -> None:
    missing = RESERVED.but(volumes=())
    assert not any("volume set" in line for lines in ways(missing).values() for line in lines)


def test_the_attachment_of_a_stopped_server_that_two_hosts_have_connected_is_kept_until_one_host_is_asked() -> None:
    both = ONE.but(
        servers=(stopped(),),
        mappings=(mapping("A"),),
        attachments=(attachment("A"), attachment("B")),
        volumes=(volume(),),
        connected={"A": HOST, "B": OTHER_HOST},
    )
    assert way(both) == (f"{CHECK}{CLEANUP} --volume {VOLUME} --no-host --execute",)
    assert not removals(both, policy=policy(Door.COMMAND, no_host=True))
    swapped = dataclasses.replace(both, mappings=(mapping("B"),))
    assert way(swapped) == (f"{CHECK}{CLEANUP} --relink --execute",)


def test_a_swap_that_died_midway_keeps_both_volumes() -> None:
    midway = ONE.but(
        mappings=(mapping("A"),),
        attachments=(attachment("A"), attachment("B", volume=SECOND_VOLUME)),
        volumes=(volume("detaching"), volume(ident=SECOND_VOLUME)),
        connected={"A": HOST, "B": HOST},
    )
    for one in (server(), stopped()):
        world = midway.but(servers=(one,))
        how = policy(Door.COMMAND, no_host=True, restart=True, relink=True, names_volume=True)
        assert not removals(world, policy=how)
        rolled_back = world.but(volumes=(volume(), volume(ident=SECOND_VOLUME)))
        assert not removals(rolled_back, policy=how)
        assert {each.code for each in findings(rolled_back)} == {"consistent", "attachment-unknown-to-nova"}


@pytest.mark.parametrize("acts", [False, True])
def test_no_option_is_printed_that_the_finding_does_not_need(acts: bool) -> None:
    released = ONE.but(
        servers=(server("error"),),
        tombstones=(tombstone("A"),),
        attachments=(attachment("A"),),
        volumes=(volume(),),
        connected={"A": HOST},
        host_acts=acts,
    )
    clean = (*STOP, f"{CLEANUP} --execute", START)
    reboot = (f"openstack server reboot --hard --wait {SERVER}",)
    assert way(released) in (clean, reboot)


def test_a_guest_of_a_deleted_server_that_runs_on_a_host_it_was_not_last_on_is_ended() -> None:
    left = ONE.but(
        servers=(deleted(),),
        attachments=(attachment("A"),),
        volumes=(volume(),),
        connected={"A": OTHER_HOST},
        guests={HOST: (), OTHER_HOST: (VOLUME,)},
    )
    assert way(left) == (
        f"ssh {OTHER_HOST} virsh -c qemu:///system destroy {SERVER}",
        f"{no_running_guest_on(OTHER_HOST, SERVER)} && {CLEANUP} --no-host --execute",
    )
    for door in Door:
        assert not removals(left, policy=policy(door, no_host=True, names_volume=True))


def test_a_lost_attachment_beside_several_reservations_is_restored_with_one_of_them() -> None:
    several = LOST.but(
        attachments=(attachment("P", "reserved"), attachment("Q", "reserved")), volumes=(volume("reserved"),)
    )
    by_file = f"{CLEANUP} --reattach --restart --connector connector.json --execute"
    assert {lines[-1] for lines in ways(several).values()} == {by_file}
    # One of them may be connected.
    unsure = several.but(attachments=(attachment("P", "reserved"), attachment("Q")), connected={"Q": HOST})
    assert not changes(unsure, policy=policy(Door.COMMAND, relink=True, reattach=True, connector_host=HOST))


@pytest.mark.parametrize("vm_state", ["paused", "suspended"])
def test_a_paused_server_without_right_to_the_volume_is_never_resumed(vm_state: str) -> None:
    other = dataclasses.replace(server(host=OTHER_HOST), id=OTHER_SERVER)
    world = LOST.but(
        servers=(server(vm_state),),
        attachments=(attachment("C", holder=OTHER_SERVER),),
        volumes=(volume(),),
        connected={"C": OTHER_HOST},
        other_servers=(other,),
    )
    assert way(world) == (f"openstack server shelve --wait {SERVER}", f"{CLEANUP} --no-host --execute")


@pytest.mark.parametrize(
    ("named", "connected"),
    [
        (attachment("R", "reserved"), {"B": HOST}),
        (attachment("R"), {"R": HOST, "B": HOST}),
        (attachment("R"), {"R": HOST, "B": OTHER_HOST}),
    ],
)
@pytest.mark.parametrize("one", [offloaded(), never_launched()], ids=["offloaded", "never launched"])
def test_what_a_server_without_a_host_left_connected_is_deleted_once_that_host_is_asked(
    one: Server, named: Attachment, connected: dict[str, str]
) -> None:
    left = ONE.but(
        servers=(one,),
        mappings=(mapping("R"),),
        attachments=(named, attachment("B")),
        volumes=(volume(),),
        connected=connected,
    )
    host = connected["B"]
    assert way(left) == (
        f"ssh {host} 'virsh -c qemu:///system list && ! virsh -c qemu:///system dominfo {SERVER}' && "
        "openstack --os-volume-api-version 3.27 volume attachment delete B",
    )
    assert not changes(left, policy=policy(Door.COMMAND, relink=True, no_host=True, names_volume=True))
    shared = left.but(attachments=(*left.attachments, attachment("C", holder=OTHER_SERVER)))
    assert set(ways(shared).values()) == {()}


def test_an_attachment_that_nova_let_go_does_not_keep_the_lost_mapping_of_another_volume() -> None:
    both = ONE.but(
        servers=(stopped(),),
        mappings=(mapping("X", SECOND_VOLUME),),
        tombstones=(tombstone("A"),),
        attachments=(attachment("A"),),
        volumes=(volume(), volume("available", SECOND_VOLUME)),
        connected={"A": HOST},
    )
    assert set(ways(both).values()) == {(f"{CLEANUP} --no-host --execute",)}
    assert [each.bdm_uuid for each in removals(both, policy=policy(Door.COMMAND, no_host=True))] == ["bdm-2"]


def test_an_attach_that_failed_beside_a_reservation_goes_by_command() -> None:
    failed = ONE.but(
        servers=(offloaded(),),
        mappings=(mapping("R"),),
        attachments=(attachment("R", "reserved"), attachment("F", "error_attaching")),
        volumes=(volume("reserved"),),
    )
    assert way(failed) == (f"{CLEANUP} --execute",)
    assert removals(failed) == ()


def test_an_attach_that_failed_does_not_keep_a_volume_in_use_from_coming_back() -> None:
    seen = LOST.but(
        attachments=(attachment("F", "error_attaching"),),
        volumes=(volume("error_attaching"),),
        guests={HOST: (VOLUME,)},
        host_acts=True,
    )
    assert ways(seen)[VOLUME, "attachment-lost-in-use"] == (
        f"openstack volume set --state available {VOLUME}",
        f"{CLEANUP} --reattach --execute",
    )


@pytest.mark.parametrize("one", [server(), stopped(), offloaded()], ids=["running", "stopped", "offloaded"])
def test_of_two_servers_with_the_same_right_to_a_volume_none_is_stopped_before_somebody_decides(one: Server) -> None:
    both = ONE.but(
        servers=(one,),
        mappings=(mapping("A"),),
        attachments=(attachment("A"), attachment("C", holder=OTHER_SERVER)),
        volumes=(volume(),),
        connected={"A": HOST, "C": OTHER_HOST},
        other_servers=(dataclasses.replace(server(host=OTHER_HOST), id=OTHER_SERVER),),
    )
    assert ways(both) == {(VOLUME, "volume-in-use-elsewhere"): ()}


@pytest.mark.parametrize("boot_index", [None, 0])
@pytest.mark.parametrize("one", [server(), stopped(), offloaded()], ids=["running", "stopped", "offloaded"])
def test_of_two_servers_that_have_both_lost_a_volume_none_lets_it_go_before_somebody_decides(
    one: Server, boot_index: int | None
) -> None:
    others = dataclasses.replace(mapping("C", number=9), server_id=OTHER_SERVER)
    both = LOST.but(
        servers=(one,),
        mappings=(mapping("A", boot_index=boot_index),),
        other_servers_bdms=(others,),
        other_servers=(dataclasses.replace(one, id=OTHER_SERVER),),
    )
    (found,) = with_ways_out(both)
    assert found.next == ()
    assert "Decide which of the servers keeps the volume" in found.reason
    if one.may_have_guest:
        return
    # The one without a guest lets the other one have it.
    runs = both.but(other_servers=(dataclasses.replace(server(), id=OTHER_SERVER),))
    assert way(runs)
    shared = both.but(volumes=(volume("available", multiattach=True),))
    assert way(shared)


@pytest.mark.parametrize("status", ["attaching", "attached", "detached", "error_detaching"])
def test_half_an_attach_that_is_not_connected_where_the_server_is_ends_while_it_is_off(status: str) -> None:
    half = ONE.but(mappings=(never_attached(),), attachments=(attachment("B", status),), volumes=(volume("in-use"),))
    assert way(half) == (f"{CLEANUP} --restart --execute",)
    off = half.but(servers=(stopped(),))
    assert way(off) == (f"{CLEANUP} --execute",)
    assert not removals(off)
    assert not removals(off, door=Door.REBOOT)
    for guests in ({HOST: (VOLUME,)}, {OTHER_HOST: (VOLUME,)}):
        there = off.but(guests=guests, connected={"B": OTHER_HOST} if status == "attached" else {}, host_acts=True)
        seen = removals(there, policy=policy(Door.COMMAND, no_host=True, names_volume=True))
        # Cinder shows the host of an attached one only, so the other host is not asked for any other.
        assert not seen or (status != "attached" and OTHER_HOST in guests)
    assert not removals(half.but(mappings=(never_attached(boot_index=0),)), policy=policy(Door.COMMAND, restart=True))
    left = half.but(connected={"B": OTHER_HOST}, servers=(stopped(),))
    if status == "attached":
        assert way(left) == (f"{CHECK}{CLEANUP} --volume {VOLUME} --no-host --execute",)


def test_half_an_attach_does_not_keep_the_lost_mapping_of_another_volume() -> None:
    both = ONE.but(
        servers=(stopped(),),
        mappings=(never_attached(), mapping("X", SECOND_VOLUME)),
        attachments=(attachment("B", "attaching"),),
        volumes=(volume("in-use"), volume("available", SECOND_VOLUME)),
    )
    assert ways(both)[SECOND_VOLUME, "mapping-without-attachment"] == (f"{CLEANUP} --no-host --execute",)


@pytest.mark.parametrize("holds", ["attachment", "mapping"])
def test_no_volume_that_another_server_has_is_set_to_available(holds: str) -> None:
    lost = ONE.but(servers=(never_launched(),), mappings=(mapping("A"),), volumes=(volume("in-use"),))
    assert way(lost) == (f"openstack volume set --state available {VOLUME}", f"{CLEANUP} --execute")
    other = dataclasses.replace(mapping("C"), server_id=OTHER_SERVER, uuid="bdm-9")
    has = {"attachments": (attachment("C", holder=OTHER_SERVER),)}
    taken = lost.but(**(has if holds == "attachment" else {"other_servers_bdms": (other,)}))
    assert not any("--state available" in line for lines in ways(taken).values() for line in lines)
