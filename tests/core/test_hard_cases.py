# SPDX-License-Identifier: Apache-2.0
"""States in which an obvious verdict would unplug a disk in use, or keep a row permanently."""

import dataclasses
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from worlds import (
    HOST,
    JUST_NOW,
    LONG_AGO,
    NOW,
    OTHER_HOST,
    OTHER_SERVER,
    RUNNING,
    SECOND_VOLUME,
    SERVER,
    VOLUME,
    World,
    attachment,
    deleted,
    findings,
    legacy,
    mapping,
    never_attached,
    observation,
    offloaded,
    policy,
    removals,
    repairs,
    server,
    stopped,
    tombstone,
    volume,
    with_ways_out,
)

from dedangle.core.decisions import Disposition, Door
from dedangle.core.manual import no_running_guest_on
from dedangle.core.records import BlockDeviceMapping, HostState
from dedangle.reconcile.server import Judged

DOORS = [Door.REBOOT, Door.COMMAND, Door.SWEEP]


def of_another(attachment_id: str) -> BlockDeviceMapping:
    return dataclasses.replace(mapping(attachment_id), server_id=OTHER_SERVER)


@pytest.mark.parametrize("door", DOORS)
def test_a_multiattach_volume_that_another_server_has_on_the_host_stays_connected(door: Door) -> None:
    shared = World(
        servers=(server(),),
        mappings=(mapping("A"),),
        attachments=(attachment("C", holder=OTHER_SERVER),),
        volumes=(volume(multiattach=True),),
        connected={"C": HOST},
    )
    assert not removals(shared, door=door)


@pytest.mark.parametrize("spell", [str, str.upper])
def test_a_volume_that_another_server_was_booted_from_stays_connected(spell: Callable[[str], str]) -> None:
    rival = dataclasses.replace(of_another("C"), volume_id=spell(VOLUME))
    left = World(servers=(deleted(),), attachments=(attachment("A"),), volumes=(volume(),), connected={"A": HOST})
    assert removals(left, door=Door.SWEEP)
    assert not removals(left.but(other_servers_bdms=(rival,)), door=Door.SWEEP)


@pytest.mark.parametrize("door", DOORS)
def test_a_reset_multiattach_volume_that_another_server_maps_stays_connected(door: Door) -> None:
    reset = World(
        servers=(server(),),
        mappings=(mapping("A"),),
        volumes=(volume("available", multiattach=True),),
        other_servers_bdms=(of_another("C"),),
    )
    assert not removals(reset, door=door)


def test_a_multiattach_volume_that_another_host_has_goes() -> None:
    elsewhere = World(
        servers=(server(),),
        mappings=(mapping("A"),),
        attachments=(attachment("C", holder=OTHER_SERVER),),
        volumes=(volume(multiattach=True),),
        connected={"C": OTHER_HOST},
    )
    assert removals(elsewhere, door=Door.REBOOT)


@pytest.mark.parametrize("deleted_at", [JUST_NOW, LONG_AGO])
def test_no_time_that_passes_proves_that_the_guest_of_a_server_deleted_without_its_host_ended(
    deleted_at: datetime,
) -> None:
    gone = World(
        servers=(deleted(power_state=RUNNING, deleted_at=deleted_at),),
        attachments=(attachment("A"),),
        volumes=(volume(),),
        connected={"A": HOST},
    )
    for door in DOORS:
        assert not removals(gone, door=door)
    (finding,) = findings(gone, door=Door.COMMAND)
    assert finding.next == (
        f"ssh {HOST} virsh -c qemu:///system destroy {gone.servers[0].id}",
        f"{no_running_guest_on(HOST, SERVER)} && dedangle cleanup {SERVER} --no-host --execute",
    )
    # An operator who has looked, or the host itself, can tell.
    assert removals(gone, policy=policy(Door.COMMAND, no_host=True))
    assert removals(gone.but(guests={HOST: ()}), door=Door.COMMAND)


def test_an_attachment_of_a_deleted_server_that_another_mapping_names_is_kept() -> None:
    named = World(
        servers=(deleted(),), attachments=(attachment("A"),), volumes=(volume(),), other_servers_bdms=(of_another("A"),)
    )
    assert [each.code for each in findings(named)] == ["link-mismatch"]


def test_an_attachment_of_a_deleted_server_whose_volume_another_server_maps_is_kept() -> None:
    mapped = World(
        servers=(deleted(),),
        attachments=(attachment("A"),),
        volumes=(volume(),),
        connected={"A": HOST},
        other_servers_bdms=(of_another("C"),),
    )
    assert [each.code for each in findings(mapped)] == ["attachment-shares-host"]


@pytest.mark.parametrize("door", DOORS)
def test_the_attachment_of_a_half_made_attach_that_another_mapping_names_is_kept(door: Door) -> None:
    half_made = World(
        servers=(server(),),
        mappings=(never_attached(),),
        attachments=(attachment("A", "reserved"),),
        volumes=(volume("reserved"),),
    )
    assert bool(removals(half_made, door=door)) is (door is Door.COMMAND)
    named = half_made.but(other_servers_bdms=(of_another("A"),))
    assert [each.code for each in findings(named, door=door)] == ["link-mismatch"]


UNSEEN = frozenset({"other_servers_bdms"})
"""Another cell is silent, where a server may map the volume; this server's own cell is not."""


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "world",
    [
        World(servers=(stopped(),), mappings=(mapping("A"),), volumes=(volume("available"),)),
        World(servers=(stopped(),), mappings=(mapping("A"),), volumes=(volume("in-use", multiattach=True),)),
        World(servers=(stopped(),), mappings=(mapping("A"),)),
        World(servers=(deleted(),), attachments=(attachment("A"),), volumes=(volume(),), connected={"A": HOST}),
    ],
    ids=["lost", "lost, shared", "volume gone", "left by deleted"],
)
def test_what_a_server_of_a_silent_cell_may_use_cannot_be_told(door: Door, world: World) -> None:
    how = policy(door, no_host=door is Door.COMMAND, allow_root=True, relink=True)
    (seen,) = findings(world, policy=how)
    (finding,) = findings(world.but(silent=UNSEEN), policy=how)
    assert (seen.verdict, finding.verdict) in {(each, "cannot-tell") for each in ("dangling", "protected")}
    assert finding.disposition == "protect"
    assert finding.reason.endswith("could not be judged: other_servers_bdms did not answer.")


@pytest.mark.parametrize("status", ["attaching", "detaching"])
def test_whose_attach_or_detach_is_under_way_cannot_be_told_while_another_cell_is_silent(status: str) -> None:
    half_way = World(
        servers=(deleted(),), attachments=(attachment("B", "reserved"),), volumes=(volume(status, multiattach=True),)
    )
    assert [each.attachment_id for each in removals(half_way)] == ["B"]
    unseen = half_way.but(silent=UNSEEN)
    judged = Judged(findings(unseen), observation(unseen))
    # As it is unread, its sightings are kept, and the run is not complete.
    assert ([each.code for each in judged.findings], judged.unread) == (
        ["cannot-tell"],
        ("other_servers_bdms did not answer",),
    )
    extending = unseen.but(servers=(server(),), volumes=(volume("extending"),))
    assert [each.code for each in findings(extending)] == ["in-flight"]


def test_a_mapping_is_not_relinked_while_another_cell_is_silent() -> None:
    crashed = World(
        servers=(offloaded(),),
        mappings=(mapping("A"),),
        attachments=(attachment("B", "reserved"),),
        volumes=(volume("reserved"),),
    )
    how = policy(Door.COMMAND, relink=True)
    assert [each.remedy for each in repairs(crashed, policy=how)] == ["relink-mapping"]
    assert not repairs(crashed.but(other_servers_bdms=(of_another("C"),)), policy=how)
    unseen = crashed.but(silent=UNSEEN)
    judged = Judged(findings(unseen, policy=how), observation(unseen))
    assert (judged.findings[0].code, judged.unread) == ("cannot-tell", ("other_servers_bdms did not answer",))
    # A mapping that no door would relink is reported too.
    connected = unseen.but(attachments=(attachment("B"),))
    assert findings(connected, policy=how)[0].code == "mapping-names-lost-attachment"


@pytest.mark.parametrize(
    ("world", "code"),
    [
        (World(servers=(server(),), mappings=(never_attached(),), volumes=(volume(),)), "mapping-never-attached"),
        (
            World(servers=(server(),), attachments=(attachment("B", "reserved"),), volumes=(volume("reserved"),)),
            "attachment-never-used",
        ),
        (World(servers=(deleted(),), mappings=(mapping("A"),)), "mapping-of-deleted-server"),
        (
            World(servers=(deleted(),), attachments=(attachment("B", "reserved"),), volumes=(volume("reserved"),)),
            "attachment-of-deleted-server",
        ),
    ],
)
def test_what_nobody_is_connected_by_goes_while_another_cell_is_silent(world: World, code: str) -> None:
    assert [each.code for each in removals(world.but(silent=UNSEEN))] == [code]


def test_a_reserved_attachment_beside_a_mapping_that_names_a_foreign_one_is_kept() -> None:
    mislinked = World(
        servers=(offloaded(),),
        mappings=(mapping("C"),),
        attachments=(attachment("C", holder=OTHER_SERVER), attachment("B", "reserved")),
        volumes=(volume("reserved"),),
    )
    assert not removals(mislinked)


@pytest.mark.parametrize(("host", "goes"), [(OTHER_HOST, False), ("host-3", True)])
def test_what_a_migration_left_on_a_host_stays_while_another_server_has_the_volume_there(host: str, goes: bool) -> None:
    migrated = World(
        servers=(server(),),
        mappings=(mapping("A"),),
        attachments=(attachment("A"), attachment("B"), attachment("C", holder=OTHER_SERVER)),
        volumes=(volume(multiattach=True),),
        connected={"A": HOST, "B": OTHER_HOST, "C": host},
        guests={OTHER_HOST: ()},
        host_acts=True,
    )
    assert [each.attachment_id for each in removals(migrated)] == ["B"] * goes


def test_a_volume_that_another_server_detaches_right_now_is_left_alone() -> None:
    detaching = World(
        servers=(deleted(),),
        attachments=(attachment("A"), attachment("C", holder=OTHER_SERVER)),
        volumes=(volume("detaching", multiattach=True),),
        connected={"A": HOST, "C": OTHER_HOST},
    )
    assert not removals(detaching)


def test_an_attachment_through_a_host_that_nobody_asked_is_kept() -> None:
    evacuated = World(
        servers=(deleted(),), attachments=(attachment("A"),), volumes=(volume(),), connected={"A": OTHER_HOST}
    )
    (finding,) = findings(evacuated)
    assert (finding.code, finding.disposition) == ("attachment-of-deleted-server", "report")


VCENTER = "192.0.2.7"


def test_a_connector_that_names_no_compute_host_is_neither_the_servers_host_nor_another_one() -> None:
    healthy = World(
        servers=(server(),),
        mappings=(mapping("A"),),
        attachments=(attachment("A"),),
        volumes=(volume(),),
        connected={"A": VCENTER},
        thorough=True,
    )
    assert [each.code for each in findings(healthy)] == ["migration-half-done"]
    known = frozenset({HOST, OTHER_HOST})
    assert [each.code for each in findings(healthy.but(compute_hosts=known))] == ["consistent"]
    elsewhere = healthy.but(compute_hosts=known, connected={"A": OTHER_HOST})
    assert [each.code for each in findings(elsewhere)] == ["migration-half-done"]
    # Beside its own attachment another one may share the export: neither is removed.
    twins = healthy.but(compute_hosts=known, attachments=(attachment("A"), attachment("B")))
    assert "attachment-shares-host" in {each.code for each in findings(twins.but(connected={"A": HOST, "B": VCENTER}))}
    gone = healthy.but(compute_hosts=known, servers=(deleted(),), mappings=())
    assert [each.attachment_id for each in removals(gone)] == ["A"]
    assert not removals(gone.but(servers=(deleted(power_state=RUNNING),)))


def test_a_transition_that_stays_is_reported_in_the_end() -> None:
    attaching = World(
        servers=(server(),),
        mappings=(mapping("A"),),
        attachments=(attachment("A", "attaching"),),
        volumes=(volume("attaching"),),
    )
    (first,) = findings(attaching, first_seen=lambda _: None)
    assert first.code == "in-flight"
    (later,) = findings(attaching, first_seen={first.key: LONG_AGO}.get)
    assert later.code == "transition-stuck"
    assert "the volume is attaching, and attachment A is attaching" in later.sentence


@pytest.mark.parametrize("status", ["attaching", "detaching"])
def test_a_young_transition_waits_even_without_a_grace_period(status: str) -> None:
    young = World(
        servers=(server(),),
        mappings=(mapping("A"),),
        attachments=(attachment("A"),),
        volumes=(volume(status, updated_at=JUST_NOW),),
        thorough=True,
    )
    at_once = policy(Door.SWEEP, grace=timedelta())
    (found,) = with_ways_out(young, at_once)
    assert (found.code, found.disposition, found.next) == ("in-flight", "wait", ())
    assert f"volume-1 is {status}" in found.reason
    assert found.reason.endswith("if it has not ended by 2026-08-01T12:01:00Z: look again then.")
    (later,) = with_ways_out(young.but(volumes=(volume(status, updated_at=LONG_AGO),)), at_once)
    assert later.code == "transition-stuck"
    assert later.next


def test_a_lost_mapping_of_a_server_without_a_guest_can_go() -> None:
    lost = World(servers=(offloaded(),), mappings=(mapping("A"),), volumes=(volume("available"),))
    assert removals(lost, door=Door.COMMAND)


def test_what_a_deleted_server_left_in_the_databases_alone_goes_though_its_host_is_down() -> None:
    down = World(
        servers=(deleted(),),
        mappings=(mapping("A"),),
        attachments=(attachment("A"), attachment("B", "reserved", volume="volume-2")),
        volumes=(volume(), volume("reserved", ident="volume-2")),
        connected={"A": HOST},
        host_state=HostState.DOWN,
    )
    removed = removals(down, first_seen=lambda _: LONG_AGO)
    assert {"remove-mapping", "remove-attachment"} == {str(each.remedy) for each in removed}
    assert "B" in {each.attachment_id for each in removed}
    assert "remove-attachment A" not in {f"{each.remedy} {each.attachment_id}" for each in removed}


def test_the_root_disk_is_known_by_its_name_without_dev() -> None:
    named = World(
        servers=(stopped(root_device_name="vda"),),
        mappings=(mapping("A", device_name="/dev/vda"),),
        volumes=(volume("available"),),
    )
    assert [each.disposition for each in findings(named, door=Door.COMMAND)] == ["protect"]


def test_the_only_connected_volume_is_the_root_beside_one_that_never_was() -> None:
    second = World(
        servers=(stopped(image_ref=None, root_device_name=None),),
        mappings=(mapping("A"), never_attached("volume-2")),
        volumes=(volume("available"), volume("available", ident="volume-2")),
    )
    roots = [each.volume_id for each in findings(second, door=Door.COMMAND) if each.disposition == "protect"]
    assert [volume().id] == roots


def test_a_lost_mapping_is_told_from_a_migration_on_a_server_with_legacy_mappings() -> None:
    mixed = World(
        servers=(server(),),
        mappings=(mapping("A"), legacy("volume-2")),
        attachments=(attachment("L", volume="volume-2"),),
        volumes=(volume("available"), volume(ident="volume-2")),
    )
    assert {"mapping-without-attachment", "legacy"} == {each.code for each in findings(mixed)}


def test_a_volume_that_is_in_use_without_an_attachment_contradicts_itself() -> None:
    contradiction = World(servers=(server(),), mappings=(mapping("A"),), volumes=(volume("in-use"),))
    assert not removals(contradiction, door=Door.REBOOT)


@pytest.mark.parametrize("status", ["er{ror}", "{", "%s"])
def test_a_status_with_braces_is_only_text(status: str) -> None:
    odd = World(servers=(server(),), attachments=(attachment("B", "reserved"),), volumes=(volume(status),))
    (finding,) = findings(odd)
    assert status in finding.reason


def test_a_task_state_is_a_sign_whoever_read_it() -> None:
    rebooting = World(
        servers=(server(task_state="rebooting"),), attachments=(attachment("B", "reserved"),), volumes=(volume(),)
    )
    assert {"in-flight"} == {each.code for each in findings(rebooting)}


@pytest.mark.parametrize("ahead", [timedelta(seconds=1), timedelta(days=3650)])
def test_what_was_seen_in_the_future_waits_from_now_on_and_not_for_ever(ahead: timedelta) -> None:
    reserved = World(servers=(server(),), mappings=(never_attached(),), volumes=(volume("available"),))
    (waits,) = findings(reserved, first_seen=lambda _: NOW + ahead)
    assert (waits.disposition, waits.first_seen) == (Disposition.WAIT, NOW)
    (later,) = findings(reserved, now=NOW + timedelta(hours=1), first_seen=lambda _: waits.first_seen)
    assert later.disposition is Disposition.REMOVE


@pytest.mark.parametrize("vm_state", ["rescued", "suspended"])
def test_a_guest_that_is_not_the_one_to_go_on_proves_nothing(vm_state: str) -> None:
    lost = World(
        servers=(server(vm_state),),
        mappings=(mapping("A"),),
        volumes=(volume("available"),),
        guests={HOST: ()},
        host_acts=True,
    )
    released = lost.but(
        mappings=(),
        tombstones=(tombstone("A"),),
        attachments=(attachment("A"),),
        volumes=(volume(),),
        connected={"A": HOST},
    )
    for world in (lost, released):
        assert removals(world, door=Door.COMMAND) == ()
        # Of an active server it is proof.
        assert len(removals(world.but(servers=(server(),)), door=Door.COMMAND)) == 1


@pytest.mark.parametrize("door", [Door.COMMAND, Door.SWEEP])
def test_a_deleted_server_whose_volume_has_long_been_migrated_keeps_its_attachment(door: Door) -> None:
    moving = volume(migration_status="migrating", updated_at=LONG_AGO)
    world = World(servers=(deleted(),), attachments=(attachment("A"),), volumes=(moving,), connected={"A": HOST})
    (finding,) = findings(world, door=door)
    assert (finding.code, finding.disposition.value) == ("attachment-of-deleted-server", "report")
    assert "migration_status migrating" in finding.reason
    assert removals(world.but(volumes=(volume(),)), door=door)


def test_work_on_one_volume_holds_its_own_pair_and_those_of_a_swap() -> None:
    lost = World(
        servers=(stopped(),),
        mappings=(mapping("A"), mapping("C", SECOND_VOLUME)),
        attachments=(attachment("C", volume=SECOND_VOLUME),),
        volumes=(volume("available"), volume("backing-up", SECOND_VOLUME)),
        connected={"C": HOST},
        thorough=True,
    )
    how = policy(Door.COMMAND, no_host=True)
    assert [each.volume_id for each in removals(lost, policy=how)] == [VOLUME]
    busy = {each.volume_id: each.code for each in findings(lost, policy=how)}
    assert busy == {VOLUME: "mapping-without-attachment", SECOND_VOLUME: "in-flight"}
    swapped = lost.but(attachments=(*lost.attachments, attachment("N", "reserved", "volume-3")))
    assert removals(swapped, policy=how) == ()


def test_a_server_without_a_trace_is_deleted_if_an_operator_vouches_for_it() -> None:
    reserved = World(attachments=(attachment("A", "reserved"),), volumes=(volume("reserved"),), thorough=True)
    vouched = policy(Door.COMMAND, assume_deleted=True)
    assert [each.attachment_id for each in removals(reserved, policy=vouched)] == ["A"]
    assert removals(reserved, policy=policy(Door.COMMAND)) == ()
    assert removals(reserved, policy=policy(Door.SWEEP, assume_deleted=True)) == ()
    assert removals(reserved.but(volumes=(volume("reserved", consumer="ironic"),)), policy=vouched) == ()
    connected = World(attachments=(attachment("A"),), volumes=(volume(),), connected={"A": HOST}, thorough=True)
    assert removals(connected, policy=vouched) == ()
    assert removals(connected.but(guests={HOST: (VOLUME,)}), policy=vouched) == ()
    assert [each.attachment_id for each in removals(connected.but(guests={HOST: ()}), policy=vouched)] == ["A"]


def test_of_two_mappings_the_one_that_was_never_connected_goes_by_the_command_alone() -> None:
    second = never_attached(number=3)
    twice = World(
        servers=(server(),),
        mappings=(mapping("A"), second),
        attachments=(attachment("A"),),
        volumes=(volume(),),
        connected={"A": HOST},
        thorough=True,
    )
    assert [each.mapping for each in removals(twice, policy=policy(Door.COMMAND))] == [second]
    assert removals(twice, door=Door.SWEEP) == removals(twice, door=Door.REBOOT) == ()
    # An attachment that no mapping names may be its own.
    for more in ((attachment("A"), attachment("B", "reserved")), (attachment("A"), attachment("B"))):
        assert removals(twice.but(attachments=more), policy=policy(Door.COMMAND)) == ()
