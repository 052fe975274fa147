# SPDX-License-Identifier: Apache-2.0
"""The ways out that dedangle does not carry out itself: no second guest, no disk taken that a guest may use."""

from __future__ import annotations

import dataclasses

import pytest

from core.worlds import (
    HOST,
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
    mapping,
    never_launched,
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
from dedangle.core.decisions import Door
from dedangle.core.records import Attachment, Disk

STOP = f"openstack server stop {SERVER}"
STOPPED = f'until [ "$(openstack server show -f value -c status {SERVER})" = SHUTOFF ]; do sleep 2; done'
START = f"openstack server start {SERVER}"
CONNECTOR = f"ssh {HOST} nova-manage volume_attachment get_connector --json > connector.json"
REFRESH = f"nova-manage volume_attachment refresh {SERVER} {VOLUME} connector.json"
COMPLETE = "openstack --os-volume-api-version 3.44 volume attachment complete A"
IN_GUEST = Disk(volume_id=VOLUME, source="/dev/a", is_running=True, is_recognised=True)
AVAILABLE = f"openstack volume set --state available {VOLUME}"
ERROR = f"openstack volume set --state error {VOLUME}"
IN_USE = f"openstack volume set --state in-use {VOLUME}"
ATTACHED = f"openstack volume set --state in-use --attached {VOLUME}"
DETACH = f"openstack server remove volume {SERVER} {VOLUME}"
CHECK = f"ssh {OTHER_HOST} 'virsh -c qemu:///system list && ! virsh -c qemu:///system dominfo {SERVER}' && "
CLEANUP = f"dedangle cleanup {SERVER}"
WHOLE = World(
    servers=(server(),),
    mappings=(mapping("A"),),
    attachments=(attachment("A"),),
    volumes=(volume(),),
    connected={"A": HOST},
    thorough=True,
)
MOVED = WHOLE.but(
    mappings=(mapping("B"),), attachments=(attachment("A"), attachment("B")), connected={"A": HOST, "B": OTHER_HOST}
)


def way(world: World, attachment_id: str) -> list[str]:
    (found,) = {each.next for each in with_ways_out(world) if each.attachment_id == attachment_id}
    return list(found)


def whose_is(status: str, volume_status: str = "in-use", **fields: object) -> World:
    """A world whose mapping's attachment has that status."""
    return WHOLE.but(attachments=(attachment("A", status),), volumes=(volume(volume_status),), connected={}, **fields)


class TestAGuestThatMayRunOnAnotherHost:
    """A live migration that died may have left the guest there: a start on the server's host would run a second one."""

    ALONE = MOVED.but(attachments=(attachment("B"),), connected={"B": OTHER_HOST})

    @pytest.mark.parametrize("world", [MOVED, ALONE], ids=["two", "one"])
    def test_it_is_looked_for_before_anything_is_started(self, world: World) -> None:
        assert way(world, "B")[0] == CHECK + STOP
        off = way(world.but(servers=(stopped(),)), "B")
        assert off[0].startswith(CHECK)
        # A host that has proved it needs no look.
        assert way(world.but(guests={HOST: (), OTHER_HOST: ()}), "B")[0] == STOP

    @pytest.mark.parametrize("world", [MOVED, ALONE], ids=["two", "one"])
    def test_it_is_shut_down_where_it_is_seen_and_nothing_else_is_done(self, world: World) -> None:
        seen = world.but(guests={HOST: (), OTHER_HOST: (VOLUME,)}, host_acts=True)
        assert way(seen, "B") == [
            f"ssh {OTHER_HOST} virsh -c qemu:///system shutdown {SERVER}",
            f"until ssh {OTHER_HOST} 'virsh -c qemu:///system list && "
            f"! virsh -c qemu:///system list --uuid | grep -q {SERVER}'; do sleep 2; done",
        ]
        for owner in (server(), stopped()):
            assert repairs(seen.but(servers=(owner,)), policy=policy(Door.COMMAND, relink=True, reattach=True)) == ()

    def test_a_relinked_mapping_is_the_one_where_the_guest_is(self) -> None:
        here = MOVED.but(guests={HOST: (VOLUME,), OTHER_HOST: ()})
        assert [each.attachment for each in repairs(here, policy=policy(Door.COMMAND, relink=True))] == [
            attachment("A")
        ]


@pytest.mark.parametrize(
    ("world", "commands"),
    [
        (WHOLE.but(volumes=(volume("detaching"),)), [IN_USE]),
        (WHOLE.but(volumes=(volume("detaching"),), guests={HOST: ()}), [IN_USE, DETACH]),
        (
            WHOLE.but(volumes=(volume("detaching"),), guests={HOST: ()}, mappings=(mapping("A", boot_index=0),)),
            [IN_USE],
        ),
        # Cinder refuses in-use for a volume without an attachment.
        (
            WHOLE.but(volumes=(volume("detaching"),), attachments=()),
            [ERROR, f"{CLEANUP} --restart --no-host --execute", AVAILABLE],
        ),
        (
            WHOLE.but(volumes=(volume("detaching"),), attachments=(), guests={HOST: (IN_GUEST,)}, host_acts=True),
            [ERROR, AVAILABLE, f"{CLEANUP} --reattach --execute"],
        ),
        (whose_is("error_detaching"), [COMPLETE]),
        (whose_is("detached", "available"), [COMPLETE]),
        (whose_is("error_detaching", guests={HOST: ()}), [ATTACHED, DETACH]),
        (whose_is("reserved", "reserved"), [STOP, STOPPED, CONNECTOR, REFRESH, START]),
        (whose_is("reserved", "reserved", servers=(stopped(),)), [CONNECTOR, REFRESH]),
        (
            whose_is("reserved", "reserved", mappings=(mapping("A", has_connection_info=False),)),
            [ATTACHED, DETACH],
        ),
        (whose_is("attaching", "attaching"), [COMPLETE]),
        (WHOLE.but(volumes=(volume("available"),)), [ATTACHED]),
        (WHOLE.but(volumes=(volume("available"),), guests={HOST: ()}), [ATTACHED, DETACH]),
    ],
)
def test_a_disk_that_the_guest_may_have_comes_back_and_one_that_it_lacks_is_detached(
    world: World, commands: list[str]
) -> None:
    assert way(world, "A") == commands


@pytest.mark.parametrize(("status", "attach_status"), [("detaching", "attached"), ("attaching", "attaching")])
def test_half_a_detach_or_attach_without_a_mapping_does_not_wait_for_ever(status: str, attach_status: str) -> None:
    half = World(
        servers=(server(),),
        tombstones=(tombstone("A"),),
        attachments=(attachment("A", attach_status),),
        volumes=(volume(status),),
        connected={"A": HOST},
    )
    (found,) = with_ways_out(half)
    assert (found.code, list(found.next)) == ("transition-stuck", [IN_USE])
    assert way(half.but(volumes=(volume(),)), "A") == [f"{CLEANUP} --restart --execute"]
    # Another server may be the one that attaches it.
    shared = half.but(attachments=(*half.attachments, attachment("C", holder=OTHER_SERVER)))
    assert {each.code for each in findings(shared)} == {"in-flight"}


class TestTwoAttachmentsOfOneServer:
    TWINS = WHOLE.but(attachments=(attachment("A"), attachment("B")), connected={"A": HOST, "B": HOST})
    WAY = (
        STOP,
        STOPPED,
        "openstack --os-volume-api-version 3.27 volume attachment delete B",
        CONNECTOR,
        REFRESH,
        START,
    )

    @pytest.mark.parametrize("status", ["attached", "error_attaching"])
    def test_the_one_that_is_not_named_goes_while_the_server_is_off_and_the_other_is_connected_anew(
        self, status: str
    ) -> None:
        twins = self.TWINS.but(attachments=(attachment("A"), attachment("B", status)))
        assert way(twins, "B") == list(self.WAY)
        shared = twins.but(attachments=(*twins.attachments, attachment("C", holder=OTHER_SERVER)))
        assert way(shared.but(volumes=(volume(multiattach=True),)), "B") == []

    def test_they_keep_each_other_only_while_a_mapping_uses_one(self) -> None:
        unmapped = self.TWINS.but(
            servers=(stopped(),), mappings=(), tombstones=(tombstone("A"), tombstone("B", number=8))
        )
        assert {each.attachment_id for each in removals(unmapped, policy=policy(Door.COMMAND))} == {"A", "B"}
        assert removals(unmapped.but(servers=(server(),)), policy=policy(Door.COMMAND)) == ()
        gone = unmapped.but(servers=(deleted(),), tombstones=())
        assert {each.attachment_id for each in removals(gone, policy=policy(Door.COMMAND))} == {"A", "B"}


def test_an_error_of_the_volume_is_set_again_after_the_removal() -> None:
    left = World(servers=(deleted(),), attachments=(attachment("A"),), volumes=(volume("error_deleting"),))
    back = f"openstack volume set --state error_deleting {VOLUME}"
    assert way(left.but(connected={"A": HOST}), "A") == [IN_USE, f"{CLEANUP} --execute", back]
    # A failed detach is what the removal ends.
    failed = left.but(volumes=(volume("error_detaching"),), attachments=(attachment("A", "error_detaching"),))
    assert way(failed, "A") == [f"{CLEANUP} --execute"]


def test_what_a_client_of_cinder_attached_without_a_host_is_removed_by_command_alone() -> None:
    unconnected = Attachment(id="A", server_id=SERVER, volume_id=VOLUME, status="attached", has_connection_info=False)
    made = World(servers=(server(),), attachments=(unconnected,), volumes=(volume(),))
    assert [each.attachment_id for each in removals(made, policy=policy(Door.COMMAND))] == ["A"]
    assert removals(made, door=Door.SWEEP) == removals(made, door=Door.REBOOT) == ()
    connected = dataclasses.replace(unconnected, has_connection_info=True)
    assert removals(made.but(attachments=(connected,)), policy=policy(Door.COMMAND)) == ()
    legacy = made.but(tombstones=(dataclasses.replace(tombstone("X"), attachment_id=None),))
    assert removals(legacy, policy=policy(Door.COMMAND)) == ()


@pytest.mark.parametrize("owner", [never_launched(), offloaded()], ids=["never launched", "offloaded"])
def test_a_server_without_a_host_gives_up_what_another_one_uses(owner: object) -> None:
    world = World(
        servers=(owner,),  # type: ignore[arg-type]
        mappings=(mapping("A"),),
        attachments=(attachment("C", holder=OTHER_SERVER),),
        volumes=(volume(),),
        connected={"C": HOST},
    )
    assert [each.bdm_uuid for each in removals(world, policy=policy(Door.COMMAND))] == ["bdm-1"]


def test_a_reservation_of_another_volume_does_not_keep_a_lost_mapping() -> None:
    lost = World(
        servers=(stopped(),),
        mappings=(mapping("A"),),
        attachments=(attachment("B", "reserved", SECOND_VOLUME),),
        volumes=(volume("available"), volume("reserved", SECOND_VOLUME)),
    )
    assert {each.code for each in findings(lost)} == {"mapping-without-attachment", "attachment-never-used"}
    # A swap connects the new volume before it lets the old one go: the guest may be on it.
    swapped = lost.but(attachments=(attachment("B", volume=SECOND_VOLUME),), connected={"B": HOST})
    assert "mapping-names-lost-attachment" in {each.code for each in findings(swapped)}


def test_a_guest_that_runs_although_nova_stopped_it_is_stopped() -> None:
    runs = WHOLE.but(
        servers=(server("stopped", power_state=RUNNING),), attachments=(), volumes=(volume("available"),), connected={}
    )
    assert way(runs, "A") == [f"openstack server set --state active {SERVER}", STOP, STOPPED]


def test_a_server_in_error_is_stopped_cleaned_and_started() -> None:
    lost = WHOLE.but(servers=(server("error"),), attachments=(), volumes=(volume("available"),), connected={})
    assert way(lost, "A") == [STOP, STOPPED, f"{CLEANUP} --no-host --execute", START]


def test_a_volume_that_another_server_has_is_never_set_to_available() -> None:
    other = attachment("C", holder=OTHER_SERVER)
    half = WHOLE.but(volumes=(volume("detaching"),), attachments=(other,), connected={"C": HOST})
    assert way(half, "A") == [IN_USE]
    reserved = World(
        servers=(server(),),
        attachments=(attachment("A", "reserved"), other),
        volumes=(volume("error"),),
        connected={"C": HOST},
    )
    assert way(reserved, "A")[:1] == [IN_USE]


def test_no_start_is_printed_while_a_guest_runs_on_another_host() -> None:
    runs = World(
        servers=(server("stopped", power_state=RUNNING),),
        attachments=(attachment("A"),),
        volumes=(volume(),),
        connected={"A": OTHER_HOST},
        guests={HOST: (), OTHER_HOST: (IN_GUEST,)},
    )
    commands = way(runs, "A")
    assert not [each for each in commands if "reboot" in each or "start" in each], commands
    assert commands[:1] == [f"ssh {OTHER_HOST} virsh -c qemu:///system shutdown {SERVER}"]
