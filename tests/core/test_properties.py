# SPDX-License-Identifier: Apache-2.0
"""What holds in arbitrary worlds: order does not matter, an answer always comes, and more knowledge never harms."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rules import broken
from worlds import (
    LONG_AGO,
    NOW,
    OTHER_SERVER,
    SECOND_VOLUME,
    SERVER,
    VOLUME,
    World,
    attachment,
    deleted,
    findings,
    mapping,
    policy,
    removals,
    server,
    stopped,
    volume,
    with_ways_out,
)

from dedangle.core.decisions import Door, Finding, Verdict
from dedangle.core.records import Attachment, BlockDeviceMapping, Disk, HostState, Marker, Server, Volume

WORDS = st.sampled_from(["A", "B", "C", "X"])
VOLUME_IDS = st.sampled_from([VOLUME, SECOND_VOLUME])
MOMENTS = st.one_of(st.none(), st.integers(-1, 60 * 24 * 60).map(lambda minutes: NOW - timedelta(minutes=minutes)))
CELLS = st.sampled_from(["cell0", "cell1", "cell2"])
STATES = ["active", "stopped", "error", "shelved_offloaded", "rescued", "resized", "paused", "soft-delete", "building"]

servers = st.builds(
    Server,
    id=st.just(SERVER),
    cell=CELLS,
    project_id=st.just("project-1"),
    host=st.sampled_from([None, "host-1", "host-2"]),
    vm_state=st.sampled_from([None, *STATES]),
    power_state=st.sampled_from([None, 0, 1, 4]),
    deleted=st.booleans(),
    hidden=st.booleans(),
    image_ref=st.sampled_from([None, "image-1"]),
    root_device_name=st.sampled_from([None, "/dev/vda", "/dev/vdb"]),
    launched_at=MOMENTS,
    deleted_at=MOMENTS,
)
mappings = st.builds(
    BlockDeviceMapping,
    id=st.integers(1, 9),
    uuid=st.one_of(st.none(), st.uuids().map(str)),
    cell=CELLS,
    server_id=st.just(SERVER),
    volume_id=VOLUME_IDS,
    attachment_id=st.one_of(st.none(), WORDS),
    has_connection_info=st.booleans(),
    source_type=st.sampled_from([None, "volume", "image", "snapshot", "blank"]),
    boot_index=st.sampled_from([None, -1, 0, 1]),
    device_name=st.sampled_from([None, "/dev/vda", "/dev/vdb"]),
    created_at=MOMENTS,
    version=st.sampled_from([None, "2026-07-01", "2026-07-02"]),
    changed_at=st.one_of(st.none(), st.integers(0, 4).map(lambda minutes: NOW - timedelta(minutes=minutes))),
)
attachments = st.builds(
    Attachment,
    id=WORDS,
    server_id=st.sampled_from([SERVER, SERVER, OTHER_SERVER, None]),
    volume_id=VOLUME_IDS,
    status=st.sampled_from(
        ["attached", "reserved", "attaching", "detached", "error_attaching", "error_detaching", "?"]
    ),
    has_connection_info=st.sampled_from([None, True, False]),
)
volumes = st.builds(
    Volume,
    id=VOLUME_IDS,
    status=st.sampled_from(["in-use", "available", "reserved", "error", "detaching", "backing-up", "?"]),
    migration_status=st.sampled_from([None, None, "success", "migrating"]),
    multiattach=st.booleans(),
    consumer=st.sampled_from([None, None, "glance"]),
)
markers = st.builds(
    Marker, kind=st.sampled_from(["event", "migration", "lock", "task_state"]), detail=st.just("goes on")
)


def few(rows: st.SearchStrategy[Any], by: str) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(rows, max_size=3, unique_by=lambda each: getattr(each, by)).map(tuple)


disks = st.builds(
    Disk, volume_id=VOLUME_IDS, source=st.just("/dev/sdb"), is_running=st.booleans(), is_recognised=st.booleans()
)
few_disks = st.lists(disks, max_size=2, unique_by=lambda each: each.volume_id).map(tuple)
HOSTS = st.sampled_from(["host-1", "host-2"])
FACTS = st.sampled_from([(), (), (), ("rows were lost",)])
worlds = st.builds(
    World,
    servers=few(servers, "cell"),
    mappings=few(mappings, "id"),
    tombstones=few(mappings, "id"),
    attachments=few(attachments, "id"),
    volumes=few(volumes, "id"),
    connected=st.dictionaries(WORDS, st.sampled_from(["host-1", "host-2"]), max_size=3),
    host_state=st.sampled_from(HostState),
    building=st.sampled_from([False, False, False, True]),
    markers=st.one_of(st.just(()), st.tuples(markers)),
    last_action_at=MOMENTS,
    guests=st.dictionaries(HOSTS, few_disks, max_size=2),
    silent_hosts=st.frozensets(HOSTS, max_size=1),
    cinder_is_behind=FACTS,
    nova_is_behind=FACTS,
    live_migration_failed_at=MOMENTS,
    other_servers=st.sampled_from([(), (dataclasses.replace(stopped(), id=OTHER_SERVER),)]),
    host_acts=st.booleans(),
    silent=st.sampled_from([frozenset(), frozenset(), frozenset({"nova"}), frozenset({"volume"})]),
)
policies = st.builds(
    policy, door=st.sampled_from(Door), no_host=st.booleans(), allow_root=st.booleans(), guest_off=st.booleans()
)

steady = settings(
    deadline=None, derandomize=True, database=None, max_examples=300, suppress_health_check=list(HealthCheck)
)


def facts(found: tuple[Finding, ...]) -> set[tuple[str, str]]:
    return {(each.key, each.disposition.value) for each in found}


@steady
@given(worlds, st.booleans())
def test_every_finding_gets_its_commands(world: World, names_volume: bool) -> None:
    for door in (Door.SWEEP, Door.COMMAND):
        for found in with_ways_out(world, policy(door, names_volume=names_volume)):
            assert not any("{" in line for line in found.next)
            cleanups = [line for line in found.next if "dedangle cleanup" in line]
            assert not names_volume or all(" --volume " in line for line in cleanups)


@steady
@given(worlds, policies)
def test_judging_answers_in_any_world_for_every_door(world: World, one: Any) -> None:
    # Only the command is given --no-host and --allow-root.
    allowed = one if one.door is Door.COMMAND else dataclasses.replace(one, no_host=False, allow_root=False)
    for finding in findings(world, policy=allowed):
        assert finding.reason
        assert finding.key


@steady
@given(worlds, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_nothing(world: World, random: Any) -> None:
    rows = ("servers", "mappings", "tombstones", "attachments", "volumes")
    shuffled = world.but(
        **{name: tuple(random.sample(getattr(world, name), len(getattr(world, name)))) for name in rows}
    )
    for door in Door:
        assert facts(findings(world, door=door)) == facts(findings(shuffled, door=door))
        assert [each.key for each in removals(world, door=door)] == [each.key for each in removals(shuffled, door=door)]


@steady
@given(worlds, policies)
def test_no_row_is_written_twice(world: World, one: Any) -> None:
    rows = [(each.remedy, each.mapping, each.attachment) for each in removals(world, policy=one)]
    assert len(set(rows)) == len(rows)


@steady
@given(worlds)
def test_what_is_half_read_is_left_alone(world: World) -> None:
    for door in Door:
        for finding in findings(world.but(silent=frozenset({"nova"})), door=door):
            assert (finding.verdict, finding.disposition) == (Verdict.CANNOT_TELL, "protect")


@steady
@given(worlds, attachments, policies)
def test_an_attachment_that_turns_up_never_dooms_a_mapping(world: World, more: Attachment, one: Any) -> None:
    before = {each.mapping for each in removals(world, policy=one)}
    if any(each.id == more.id for each in world.attachments) or not any(not each.deleted for each in world.servers):
        return
    after = {each.mapping for each in removals(world.but(attachments=(*world.attachments, more)), policy=one)}
    assert after <= before | {None}


@steady
@given(worlds, markers, policies)
def test_work_that_shows_up_never_dooms_anything_of_the_living(world: World, more: Marker, one: Any) -> None:
    if any(not each.deleted for each in world.servers):
        assert not removals(world.but(markers=(*world.markers, more)), policy=one)


@steady
@given(worlds, policies)
def test_a_mapping_whose_attachment_turns_up_is_kept_whatever_else_there_is(world: World, one: Any) -> None:
    found = tuple(
        attachment(each.attachment_id, "attached", each.volume_id)
        for each in {each.attachment_id: each for each in world.mappings if each.attachment_id}.values()
        if each.attachment_id
    )
    whole = world.but(
        servers=(server(),), attachments=(*(each for each in world.attachments if each.id not in "ABCX"), *found)
    )
    assert not [each for each in removals(whole, policy=one) if each.mapping and each.mapping.attachment_id]
    assert not [each for each in removals(whole, policy=one) if each.attachment and each.attachment in found]


@steady
@given(worlds, policies)
def test_no_arbitrary_world_breaks_a_rule(world: World, one: Any) -> None:
    allowed = one if one.door is Door.COMMAND else dataclasses.replace(one, no_host=False, allow_root=False)
    alone = world.but(servers=tuple(each for each in world.servers if each.vm_state != "building")[:1])
    for finding in removals(alone, policy=allowed):
        assert not broken(alone, allowed, finding)


@steady
@given(worlds, policies, st.sampled_from(["host-1", "host-2"]), VOLUME_IDS)
def test_a_disk_that_turns_up_in_the_guest_never_dooms_anything(
    world: World, one: Any, host: str, volume_id: str
) -> None:
    before = {each.key for each in removals(world, policy=one)}
    guests = {**world.guests, host: (*world.guests.get(host, ()), volume_id)} if host in world.guests else world.guests
    assert {each.key for each in removals(world.but(guests=guests), policy=one)} <= before


@steady
@given(MOMENTS, st.sampled_from(Door))
def test_the_key_of_a_finding_is_the_same_in_every_run_and_at_every_door(moment: Any, door: Door) -> None:
    world = World(servers=(stopped(),), mappings=(mapping("A"),), volumes=(volume("available"),))
    (first,) = findings(world)
    (again,) = findings(world.but(last_action_at=moment), door=door, now=moment or NOW, first_seen=lambda _: moment)
    assert first.key == again.key


def test_the_key_of_a_finding_changes_with_the_version_of_its_row() -> None:
    of_mapping = [
        findings(World(servers=(deleted(),), mappings=(mapping("A", version=version),)))[0].key
        for version in (None, "2026-07-01 00:00:00", "2026-07-01 00:00:01")
    ]
    of_attachment = [
        findings(World(servers=(deleted(),), attachments=(attachment("A", status),)))[0].key
        for status in ("reserved", "attaching", "attached")
    ]
    assert len({*of_mapping, *of_attachment}) == len([*of_mapping, *of_attachment])


def test_a_finding_that_nobody_saw_before_is_seen_now_and_one_that_was_keeps_its_time() -> None:
    world = World(servers=(deleted(),), attachments=(attachment("A"),), volumes=(volume(),))
    for seen, expected in ((None, NOW), (LONG_AGO, LONG_AGO)):
        (finding,) = findings(world, first_seen=lambda _, seen=seen: seen)
        assert expected == finding.first_seen
