# SPDX-License-Identifier: Apache-2.0
"""The rules of the doors: each has a sentence for the manual, and each veto is the one that stops something."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from rules import broken
from worlds import (
    HOST,
    LONG_AGO,
    NOW,
    OTHER_HOST,
    OTHER_SERVER,
    RUNNING,
    VOLUME,
    World,
    attachment,
    deleted,
    findings,
    mapping,
    never_attached,
    offloaded,
    policy,
    removals,
    server,
    stopped,
    tombstone,
    volume,
    with_ways_out,
)

from dedangle.core import doors
from dedangle.core.case import Case, Policy, Ruling
from dedangle.core.decisions import Door
from dedangle.core.records import Disk, Marker, Reading, Server

JUST_CHANGED = NOW - timedelta(seconds=90)

RELEASED = World(
    tombstones=(tombstone("A"),), attachments=(attachment("A"),), volumes=(volume(),), connected={"A": HOST}
)
LEFT = World(servers=(deleted(),), attachments=(attachment("A"),), volumes=(volume(),), connected={"A": HOST})
LOST = World(servers=(stopped(),), mappings=(mapping("A"),), volumes=(volume("available"),))

# By the name of a rule: a world, and the policy of a door that would break a rule of the design without it.
STOPS: dict[str, tuple[World, Policy]] = {
    "rows_forbid": (LEFT.but(volumes=(volume("error"),)), policy(Door.COMMAND)),
    "root_disk": (LOST.but(mappings=(mapping("A", boot_index=0),)), policy(Door.COMMAND, no_host=True)),
    "guest_has_the_disk": (
        RELEASED.but(servers=(offloaded(),), guests={HOST: ("volume-1",)}),
        policy(Door.COMMAND),
    ),
    "just_changed": (LOST.but(mappings=(mapping("A", changed_at=JUST_CHANGED),)), policy(Door.COMMAND, no_host=True)),
    "work_is_open": (
        World(
            servers=(server(),),
            mappings=(never_attached(),),
            markers=(Marker(kind="event", detail="of attach_volume", since=LONG_AGO),),
        ),
        policy(Door.COMMAND),
    ),
    "host_may_still_answer": (LEFT.but(silent_hosts=frozenset({HOST})), policy(Door.COMMAND)),
    "deleted_without_its_host": (LEFT.but(servers=(deleted(power_state=RUNNING),)), policy(Door.SWEEP)),
    "guest_stays_on": (LOST.but(servers=(server(),)), policy(Door.REBOOT, guest_off=False)),
    "server_may_run": (LOST.but(servers=(server(),)), policy(Door.COMMAND, no_host=True)),
    "not_proved": (World(servers=(server(),), attachments=(attachment("A"),), volumes=(volume(),)), policy(Door.SWEEP)),
    "connected_on_another_host": (
        RELEASED.but(servers=(stopped(),), connected={"A": OTHER_HOST}, host_acts=True),
        policy(Door.COMMAND),
    ),
    "host_cannot_claim": (
        RELEASED.but(servers=(server("error"),), host_acts=True, guests={HOST: ()}),
        policy(Door.COMMAND),
    ),
    "host_not_asked": (LOST, policy(Door.COMMAND)),
}


def test_a_rule_has_a_name_and_a_sentence_of_its_own_and_the_last_one_always_applies() -> None:
    sentences = [str(rule.__doc__).split("\n")[0] for rule in doors.RULES]
    assert len(set(sentences)) == len(doors.RULES)
    assert all(each.endswith(".") for each in sentences)
    assert doors.RULES[-1] is doors.removable


@pytest.mark.parametrize("name", STOPS)
def test_a_veto_stops_what_would_break_a_rule_of_the_design_without_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, one = STOPS[name]
    if name == "not_proved":
        # Without a proof the judgement does not even call it dangling; see attachment-left-by-migration for the rest.
        world = World(
            servers=(server(),),
            mappings=(mapping("A"),),
            attachments=(attachment("A"), attachment("B")),
            volumes=(volume(),),
            connected={"A": HOST, "B": OTHER_HOST},
            guests={OTHER_HOST: (Disk(volume_id=VOLUME, source="/dev/b", is_running=False, is_recognised=True),)},
            host_acts=True,
        )
    assert removals(world, policy=one) == ()
    monkeypatch.setattr(doors, "RULES", tuple(rule for rule in doors.RULES if rule.__name__ != name))
    removed = removals(world, policy=one)
    assert removed
    assert all(broken(world, one, each) for each in removed)


@pytest.mark.parametrize(
    ("rows", "waits"),
    [
        ({"attachments": (attachment("A", "reserved"),)}, timedelta(minutes=10)),
        (
            {"attachments": (attachment("A"),), "tombstones": (tombstone("A"),), "servers": (stopped(),)},
            timedelta(hours=1),
        ),
    ],
)
def test_what_was_never_connected_waits_for_minutes_and_the_rest_for_an_hour(
    rows: dict[str, Any], waits: timedelta
) -> None:
    world = World(**{"servers": (server(),), "volumes": (volume(),), "connected": {"A": HOST}, **rows})
    for since, gone in ((waits - timedelta(seconds=1), False), (waits, True)):
        found = removals(world, policy=policy(Door.SWEEP), first_seen=lambda _, since=since: NOW - since)
        assert bool(found) is gone


@pytest.mark.parametrize("door", Door)
@pytest.mark.parametrize(
    "owner",
    [deleted(), deleted(host=None), deleted(power_state=RUNNING), offloaded()],
    ids=["deleted", "deleted, host forgotten", "deleted without its host", "offloaded"],
)
def test_a_guest_that_runs_with_the_disk_forbids_every_removal(owner: Server, door: Door) -> None:
    for rows in (
        {"attachments": (attachment("A"),)},
        {"attachments": (attachment("A"),), "tombstones": (tombstone("A"),)},
        {"attachments": (attachment("A"),), "mappings": (mapping("A"),)},
    ):
        world = LEFT.but(servers=(owner,), guests={HOST: ("volume-1",)}, **rows)
        for allowed in (policy(door), policy(door, no_host=True, restart=True, allow_root=True)):
            assert removals(world, policy=allowed) == ()


def test_the_domain_of_the_next_start_forbids_nothing() -> None:
    off = Disk(volume_id="volume-1", source="/dev/sdb", is_running=False, is_recognised=True)
    left = LOST.but(guests={HOST: (off,)}, host_acts=True)
    assert len(removals(left, door=Door.COMMAND)) == 1
    runs = dataclasses.replace(off, is_running=True)
    assert removals(left.but(guests={HOST: (runs,)}), door=Door.COMMAND) == ()


def test_a_disk_that_nobody_recognises_forbids_where_no_guest_should_run() -> None:
    other = Disk(volume_id="volume-9", source="/dev/sdz", is_running=True, is_recognised=False)
    assert removals(LEFT.but(guests={HOST: ()}), door=Door.COMMAND)
    assert removals(LEFT.but(guests={HOST: (other,)}), door=Door.COMMAND) == ()


def test_a_client_of_ceph_that_nothing_else_explains_forbids_every_removal() -> None:
    client, closed = "192.0.2.7:0/1", {VOLUME: Reading[str]()}
    assert removals(LEFT.but(guests={HOST: ()}, watchers=closed), door=Door.COMMAND)
    for door in (Door.COMMAND, Door.SWEEP):
        for world in (LEFT.but(guests={HOST: ()}), LOST.but(servers=(stopped(),), host_acts=True)):
            assert len(removals(world, door=door)) == len(removals(world.but(watchers=closed), door=door))
            for reading in (Reading((client,)), Reading[str].unread("Ceph did not answer in 60 s")):
                assert removals(world.but(watchers={VOLUME: reading}), door=door) == ()
    (kept,) = findings(LEFT.but(guests={HOST: ()}, watchers={VOLUME: Reading((client,))}), door=Door.COMMAND)
    assert f"Kept: a client of Ceph has the RBD image open ({client})." in kept.reason
    assert f"Ceph: the RBD image of volume {VOLUME} is open by {client}" in kept.evidence


def test_a_client_of_ceph_may_be_that_of_another_attachment() -> None:
    moved = World(
        servers=(server(),),
        mappings=(mapping("B"),),
        tombstones=(tombstone("A"),),
        attachments=(attachment("A"), attachment("B")),
        volumes=(volume(),),
        connected={"A": OTHER_HOST, "B": HOST},
        guests={HOST: (VOLUME,), OTHER_HOST: ()},
        host_acts=True,
    )
    (before,) = removals(moved, door=Door.COMMAND)
    assert before.attachment_id == "A"
    one, two = Reading(("192.0.2.7:0/1",)), Reading(("192.0.2.7:0/1", "192.0.2.8:0/1"))
    assert removals(moved.but(watchers={VOLUME: one}), door=Door.COMMAND)
    assert removals(moved.but(watchers={VOLUME: two}), door=Door.COMMAND) == ()


def test_a_serial_that_a_swap_left_behind_proves_nothing() -> None:
    """The guest writes to volume-2 behind the serial of volume-1, which is still mapped: a swap that crashed."""
    swapped = World(
        servers=(server(),),
        mappings=(mapping("A"),),
        attachments=(attachment("A"), attachment("B", volume="volume-2")),
        volumes=(volume(), volume(ident="volume-2")),
        connected={"A": HOST, "B": HOST},
        host_acts=True,
    )
    left = Disk(volume_id="volume-1", source="/dev/of-volume-2", is_running=True, is_recognised=False)
    for door in Door:
        assert removals(swapped.but(guests={HOST: (left,)}), door=door) == ()
    explained = dataclasses.replace(left, is_recognised=True)
    assert [each.attachment_id for each in removals(swapped.but(guests={HOST: (explained,)}), door=Door.COMMAND)] == [
        "B"
    ]


@pytest.mark.parametrize(
    "shown",
    [
        {"cinder_is_behind": ("Cinder has lost its neighbours",)},
        {"live_migration_failed_at": NOW - timedelta(days=1)},
        {"mappings": (mapping("A"), mapping("R", "volume-2", boot_index=0))},
    ],
    ids=["neighbours lost", "live migration failed since", "root lost too"],
)
def test_where_cinder_is_the_wrong_side_nothing_goes_on_its_word(shown: dict[str, Any]) -> None:
    world = World(
        servers=(server(),), mappings=(mapping("A"),), volumes=(volume("available"), volume("available", "volume-2"))
    )
    for door in Door:
        found = findings(world.but(**shown), door=door)
        assert {each.code for each in found} == {"attachment-lost-in-use"}
        assert {each.disposition.value for each in found} == {"report"}
    # One lost data attachment that nothing speaks against still goes, as Nova's blueprint has it.
    assert [each.code for each in removals(world, door=Door.REBOOT)] == ["mapping-without-attachment"]


def test_a_failed_live_migration_before_the_mapping_changed_says_nothing_of_it() -> None:
    changed, failed = NOW - timedelta(hours=1), NOW - timedelta(hours=2)
    world = World(servers=(server(),), mappings=(mapping("A", changed_at=changed),), volumes=(volume("available"),))
    assert len(removals(world.but(live_migration_failed_at=failed), door=Door.REBOOT)) == 1


def test_where_nova_is_the_wrong_side_no_attachment_goes() -> None:
    world = World(servers=(server(),), attachments=(attachment("B", "reserved"),), volumes=(volume("reserved"),))
    assert removals(world, door=Door.SWEEP)
    (finding,) = findings(world.but(nova_is_behind=("Nova lacks what Cinder has",)))
    assert (finding.disposition, "Nova lacks what Cinder has" in finding.reason) == ("report", True)


class TestTwoServersThatHoldOneVolume:
    """volume-in-use-elsewhere: never silent, urgent only where two guests may write."""

    OTHER = dataclasses.replace(server(), id=OTHER_SERVER)
    RIVAL = dataclasses.replace(mapping("C"), server_id=OTHER_SERVER)
    SHARED = World(
        servers=(server(),),
        mappings=(mapping("A"),),
        attachments=(attachment("A"), attachment("C", holder=OTHER_SERVER)),
        volumes=(volume(),),
        connected={"A": HOST, "C": OTHER_HOST},
        other_servers_bdms=(RIVAL,),
        other_servers=(OTHER,),
        thorough=True,
    )

    def test_two_whole_pairs_are_urgent(self) -> None:
        (finding,) = findings(self.SHARED)
        assert (finding.code, finding.is_urgent, finding.disposition) == ("volume-in-use-elsewhere", True, "report")

    def test_a_multi_attach_volume_is_shared_by_right(self) -> None:
        assert [each.code for each in findings(self.SHARED.but(volumes=(volume(multiattach=True),)))] == ["consistent"]

    @pytest.mark.parametrize("off", [stopped(), offloaded()], ids=["stopped", "offloaded"])
    def test_a_server_that_is_off_is_no_second_writer_and_still_no_silence(self, off: Server) -> None:
        for world in (
            self.SHARED.but(other_servers=(dataclasses.replace(off, id=OTHER_SERVER),)),
            self.SHARED.but(servers=(stopped(),)),
        ):
            (finding,) = findings(world)
            assert (finding.code, finding.is_urgent) == ("volume-in-use-elsewhere", False)

    def test_a_tombstone_is_no_second_writer(self) -> None:
        gone = dataclasses.replace(self.RIVAL, deleted=True)
        assert [each.code for each in findings(self.SHARED.but(other_servers_bdms=(gone,)))] == ["consistent"]

    def test_a_guest_that_has_the_disk_of_another_server_is_urgent_without_a_lost_attachment(self) -> None:
        world = self.SHARED.but(
            mappings=(), tombstones=(tombstone("A"),), guests={HOST: ("volume-1",)}, connected={"A": HOST, "C": HOST}
        )
        found = findings(world)
        assert [(each.code, each.is_urgent) for each in found] == [("volume-in-use-elsewhere", True)]

    def test_the_server_to_stop_is_the_one_that_has_no_right_to_the_volume(self) -> None:
        lost = self.SHARED.but(attachments=(attachment("C", holder=OTHER_SERVER),))
        (finding,) = with_ways_out(lost)
        assert (finding.is_urgent, finding.next[0]) == (True, f"openstack server stop {lost.servers[0].id}")
        (rightful,) = with_ways_out(self.SHARED.but(attachments=(attachment("A"),)))
        assert (rightful.is_urgent, rightful.next[0]) == (True, f"openstack server stop {OTHER_SERVER}")

    def test_once_it_is_off_the_mapping_goes_by_command(self) -> None:
        lost = self.SHARED.but(servers=(stopped(),), attachments=(attachment("C", holder=OTHER_SERVER),))
        assert [each.code for each in removals(lost, policy=policy(Door.COMMAND, no_host=True))] == [
            "mapping-without-attachment"
        ]


def test_a_multi_attach_volume_of_two_servers_on_a_host_is_the_hosts_to_tell() -> None:
    shared = World(
        servers=(server(),),
        mappings=(mapping("A"),),
        attachments=(attachment("C", holder=OTHER_SERVER),),
        volumes=(volume(multiattach=True),),
        connected={"C": HOST},
    )
    assert removals(shared, policy=policy(Door.REBOOT)) == ()
    assert len(removals(shared, policy=policy(Door.REBOOT, at_host=True))) == 1


def test_a_hard_reboot_ends_a_detach_that_crashed() -> None:
    crashed = RELEASED.but(servers=(server(),), guests={HOST: ("volume-1",)})
    assert [each.attachment_id for each in removals(crashed, policy=policy(Door.REBOOT))] == ["A"]
    assert removals(crashed, policy=policy(Door.REBOOT, guest_off=False)) == ()
    assert removals(crashed, door=Door.COMMAND) == ()


@pytest.mark.parametrize("door", Door)
def test_what_changed_less_than_two_minutes_ago_waits(door: Door) -> None:
    for rows in (
        {"mappings": (mapping("A", changed_at=JUST_CHANGED),)},
        {"mappings": (never_attached(changed_at=JUST_CHANGED),)},
        {"tombstones": (tombstone("B", changed_at=JUST_CHANGED),), "attachments": (attachment("B", "reserved"),)},
    ):
        world = World(servers=(stopped(),), volumes=(volume("reserved"),)).but(**rows)
        assert removals(world, policy=policy(door, no_host=True)) == ()


def test_what_changed_two_minutes_ago_is_believed() -> None:
    settled = LOST.but(mappings=(mapping("A", changed_at=NOW - timedelta(minutes=2)),))
    assert removals(settled, policy=policy(Door.COMMAND, no_host=True))


def test_an_attachment_of_unknown_age_waits_two_minutes_from_when_it_was_first_seen() -> None:
    reserved = World(servers=(server(),), attachments=(attachment("B", "reserved"),), volumes=(volume("reserved"),))
    (waits,) = findings(reserved, door=Door.COMMAND, first_seen=lambda _: JUST_CHANGED)
    assert waits.disposition == "wait"
    assert removals(reserved, door=Door.COMMAND, first_seen=lambda _: NOW - timedelta(minutes=2))
    # grace_period = 0 switches this off too, and a reboot has nothing to remember by.
    assert removals(reserved, policy=policy(Door.COMMAND, grace=timedelta()), first_seen=lambda _: NOW)
    assert removals(reserved, door=Door.REBOOT, first_seen=lambda _: None)


def test_dispose_asks_the_rules_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def spy(rule: Callable[[Case], Ruling | None]) -> Callable[[Case], Ruling | None]:
        def asks(case: Case) -> Ruling | None:
            asked.append(rule.__name__)
            return rule(case)

        return asks

    monkeypatch.setattr(doors, "RULES", tuple(map(spy, doors.RULES)))
    assert removals(LOST, policy=policy(Door.COMMAND, no_host=True))
    first = (doors.rows_forbid, doors.root_disk, doors.guest_runs_elsewhere, doors.only_reported)
    assert asked == [rule.__name__ for rule in first] + asked[4:]
    assert asked[-1] == "removable"
