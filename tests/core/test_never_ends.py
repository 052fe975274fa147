# SPDX-License-Identifier: Apache-2.0
"""An operation that never ends is reported with its own volume, and its commands set a status that Cinder accepts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from core.worlds import (
    HOST,
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
    changes,
    deleted,
    mapping,
    policy,
    server,
    stopped,
    volume,
    with_ways_out,
)
from dedangle.core.decisions import Door
from dedangle.core.records import HostState, Marker, Server

STALE = {"updated_at": NOW - timedelta(days=2)}
BACKED_UP = World(
    servers=(server(),),
    mappings=(mapping("A"),),
    attachments=(attachment("A"),),
    volumes=(volume("backing-up", **STALE),),
    thorough=True,
)


def never_ending(world: World) -> dict[str, tuple[str, ...]]:
    return {each.volume_id: each.next for each in with_ways_out(world) if each.code == "work-never-ends"}


def set_status(status: str, volume_id: str = VOLUME) -> tuple[str, ...]:
    return (f"openstack volume set --state {status} {volume_id}",)


def test_a_volume_is_set_to_in_use_only_if_it_has_an_attachment() -> None:
    assert never_ending(BACKED_UP) == {VOLUME: set_status("in-use")}
    lost = BACKED_UP.but(attachments=())
    # The guest may still use it, so nobody else may attach it.
    assert never_ending(lost) == {VOLUME: set_status("error")}
    assert never_ending(lost.but(guests={HOST: ()})) == {VOLUME: set_status("available")}
    elsewhere = BACKED_UP.but(attachments=(attachment("B", holder=OTHER_SERVER),))
    assert never_ending(elsewhere) == {VOLUME: set_status("in-use")}


@pytest.mark.parametrize("status", ["in-use", "retyping"])
def test_the_status_of_a_migration_that_died_is_reset_too(status: str) -> None:
    world = BACKED_UP.but(volumes=(volume(status, migration_status="migrating", **STALE),))
    ended = f"cinder reset-state --state in-use --reset-migration-status {VOLUME}"
    assert never_ending(world) == {VOLUME: (ended,)}
    # The first of the findings resets it: a set of the status alone would make the migration seem to have just begun.
    assert all("--reset-migration-status" in each.next[0] for each in with_ways_out(world) if each.next)


def test_each_volume_is_reported_by_itself_and_none_that_is_being_worked_on() -> None:
    both = BACKED_UP.but(
        mappings=(mapping("A"), mapping("B", SECOND_VOLUME)),
        attachments=(attachment("A"), attachment("B", volume=SECOND_VOLUME)),
        volumes=(volume("extending", updated_at=NOW), volume("backing-up", SECOND_VOLUME, **STALE)),
    )
    assert never_ending(both) == {SECOND_VOLUME: set_status("in-use", SECOND_VOLUME)}
    (found,) = [each for each in with_ways_out(both) if each.code == "work-never-ends"]
    assert "extending" not in found.sentence
    open_event = Marker(kind="event", detail="attach_volume", since=NOW - timedelta(days=2))
    assert set(never_ending(both.but(volumes=(volume(), both.volumes[1]), markers=(open_event,)))) == {
        VOLUME,
        SECOND_VOLUME,
    }


def test_a_lock_that_a_killed_refresh_left_is_unlocked() -> None:
    whole = BACKED_UP.but(volumes=(volume(),))
    lock = Marker(kind="lock", detail="of nova-manage volume_attachment refresh", since=NOW - timedelta(days=2))
    assert never_ending(whole.but(markers=(lock,))) == {VOLUME: (f"openstack server unlock {SERVER}",)}


@pytest.mark.parametrize(
    ("state", "commands"),
    [
        ({}, (f"openstack server set --state active {SERVER}",)),
        # It has no host to be ACTIVE on, or somebody must still choose between two hosts, or between life and death.
        ({"vm_state": "shelved_offloaded", "host": None}, ()),
        ({"vm_state": "error", "host": None}, ()),
        ({"vm_state": "resized"}, ()),
        ({"vm_state": "soft-delete"}, ()),
    ],
)
def test_a_task_that_has_stopped_makes_no_server_active_that_cannot_be(
    state: dict[str, Any], commands: tuple[str, ...]
) -> None:
    world = BACKED_UP.but(servers=(server(task_state="unshelving", **STALE, **state),), volumes=(volume(),))
    assert never_ending(world) == {VOLUME: commands}
    (found,) = [each for each in with_ways_out(world) if each.code == "work-never-ends"]
    assert commands or " Decide " in found.reason


LOST_HOST = {"host_state": HostState.DOWN, "host_down_since": NOW - timedelta(days=2)}


def test_a_host_that_is_lost_hides_no_finding_and_nothing_is_changed_on_it() -> None:
    lost = BACKED_UP.but(volumes=(volume(),), attachments=(), **LOST_HOST)
    (found,) = with_ways_out(lost)
    assert found.code == "mapping-without-attachment"
    assert f"Kept: host {HOST} has been down since 2026-07-30T12:00:00Z" in found.reason
    assert found.reason.endswith("Decide whether the host comes back, which has been down for more than a day.")
    assert found.next == ()
    assert changes(lost) == ()
    detaching = lost.but(attachments=(attachment("A"),), volumes=(volume("detaching", updated_at=LONG_AGO),))
    (found,) = with_ways_out(detaching)
    assert (found.code, found.next) == ("transition-stuck", ())
    assert changes(detaching) == ()
    # It can be evacuated.
    assert {each.code for each in with_ways_out(lost.but(attachments=(attachment("A"),)))} == {"consistent"}
    off = lost.but(servers=(stopped(),), volumes=(volume("available"),))
    (found,) = with_ways_out(off)
    assert found.next == (f"dedangle cleanup {SERVER} --no-host --execute",)


def test_an_attachment_of_a_deleted_server_goes_without_its_lost_host() -> None:
    left = World(servers=(deleted(),), attachments=(attachment("A"),), volumes=(volume(),), connected={"A": HOST})
    (found,) = with_ways_out(left.but(**LOST_HOST))
    assert found.code == "attachment-of-deleted-server"
    assert found.next == (f"dedangle cleanup {SERVER} --no-host --execute",)
    assert changes(left.but(**LOST_HOST), policy=policy(Door.SWEEP)) == ()
    young = {**LOST_HOST, "host_down_since": NOW - timedelta(hours=2)}
    assert changes(left.but(**young), policy=policy(Door.COMMAND, no_host=True)) == ()


def test_a_guest_that_may_live_on_a_lost_host_is_ended_before_its_attachment_goes() -> None:
    left = World(
        servers=(deleted(power_state=RUNNING),),
        attachments=(attachment("A"),),
        volumes=(volume(),),
        connected={"A": HOST},
        **LOST_HOST,
    )
    (found,) = with_ways_out(left)
    destroy, remove = found.next
    assert destroy == f"ssh {HOST} virsh -c qemu:///system destroy {SERVER}"
    # If nobody can log in to the host, the guest may go on writing to the volume.
    is_off = f"! virsh -c qemu:///system list --uuid | grep -q {SERVER}"
    cleanup = f"dedangle cleanup {SERVER} --no-host --execute"
    assert remove == f"ssh {HOST} 'virsh -c qemu:///system list && {is_off}' && {cleanup}"


def test_a_lost_host_that_ran_dedangle_is_left_out_for_a_deleted_server() -> None:
    left = World(
        servers=(deleted(),),
        attachments=(attachment("A"),),
        volumes=(volume(),),
        connected={"A": HOST},
        silent_hosts=frozenset({HOST}),
        **LOST_HOST,
    )
    (found,) = with_ways_out(left)
    assert found.next == (f"dedangle cleanup {SERVER} --no-host --execute",)
    assert changes(left, policy=policy(Door.SWEEP)) == ()
    assert changes(left, policy=policy(Door.COMMAND)) == ()
    # Another host that can answer is waited for.
    elsewhere = left.but(connected={"A": OTHER_HOST}, silent_hosts=frozenset({HOST, OTHER_HOST}))
    assert changes(elsewhere, policy=policy(Door.COMMAND, no_host=True, names_volume=True)) == ()
    up = left.but(host_state=HostState.UP, host_down_since=None)
    assert changes(up, policy=policy(Door.COMMAND, no_host=True)) == ()


@pytest.mark.parametrize(("one", "is_told"), [(server(), True), (deleted(), False)], ids=["live", "deleted"])
def test_only_a_live_server_is_to_be_evacuated(one: Server, is_told: bool) -> None:
    down = {**LOST_HOST, "host_down_since": NOW - timedelta(hours=2)}
    (found, *_) = with_ways_out(BACKED_UP.but(servers=(one,), volumes=(volume(),), mappings=(), **down))
    assert found.disposition == "wait"
    assert ("evacuate" in found.reason) is is_told


@pytest.mark.parametrize("one", [server(), server("paused"), server("stopped")], ids=["active", "paused", "powered on"])
@pytest.mark.parametrize("hours", [2, 48])
def test_no_command_waits_for_a_server_whose_host_is_down(one: Server, hours: int) -> None:
    down = {**LOST_HOST, "host_down_since": NOW - timedelta(hours=hours)}
    lost = BACKED_UP.but(servers=(one,), volumes=(volume("available"),), attachments=(), **down)
    assert [each.next for each in with_ways_out(lost) if each.next] == []


def test_what_was_never_connected_needs_no_host_that_is_down() -> None:
    reserved = World(servers=(deleted(),), attachments=(attachment("A", "reserved"),), volumes=(volume("error"),))
    (found,) = with_ways_out(reserved.but(host_state=HostState.DOWN))
    assert [line.split(f" {VOLUME}")[0] for line in found.next] == [
        "openstack volume set --state available",
        f"dedangle cleanup {SERVER} --execute",
        "openstack volume set --state error",
    ]


def test_a_build_that_stopped_is_a_question() -> None:
    world = BACKED_UP.but(servers=(), building=True, requested_at=NOW - timedelta(days=2), mappings=())
    found = [each for each in with_ways_out(world) if each.code == "work-never-ends"]
    assert [each.next for each in found] == [()]
    assert found[0].advice.endswith("Decide whether the server is still wanted, whose build has stopped.")
    assert changes(world) == ()


@pytest.mark.parametrize(
    ("known", "ends"),
    [
        (
            {"markers": (Marker(kind="event", detail="goes on", since=NOW),)},
            "If it shows no progress until 2026-08-02T12:00:00Z, it counts as never ending.",
        ),
        ({"markers": (Marker(kind="lock", detail="goes on"),)}, "until the command that locked the server ends."),
        ({"host_state": HostState.DOWN}, f"until nova-compute on {HOST} reports again."),
        ({"servers": (), "building": True}, "until Nova has built the server, or has put it in ERROR."),
    ],
)
def test_what_waits_says_what_ends_it(known: dict[str, Any], ends: str) -> None:
    (found,) = with_ways_out(BACKED_UP.but(volumes=(volume(),), **known))
    assert found.disposition == "wait"
    assert ends in found.reason
