# SPDX-License-Identifier: Apache-2.0
"""The commands that a finding prints: the least harmful ones that act, shaped by what is known of the server."""

from __future__ import annotations

import dataclasses

import pytest

from core.worlds import (
    HOST,
    LONG_AGO,
    RUNNING,
    SERVER,
    SHUTDOWN,
    World,
    attachment,
    deleted,
    mapping,
    never_attached,
    never_launched,
    offloaded,
    server,
    stopped,
    tombstone,
    volume,
    with_ways_out,
)
from dedangle.core.manual import no_running_guest_on
from dedangle.core.records import HostState

CLEANUP = f"dedangle cleanup {SERVER}"
STOP = [
    f"openstack server stop {SERVER}",
    f'until [ "$(openstack server show -f value -c status {SERVER})" = SHUTOFF ]; do sleep 2; done',
]
ACTIVE = f'until [ "$(openstack server show -f value -c status {SERVER})" = ACTIVE ]; do sleep 2; done'
GET_CONNECTOR = f"ssh {HOST} nova-manage volume_attachment get_connector --json > connector.json"
NEWEST = "$(openstack volume list --all-projects -f value -c ID | head -n 1)"
NEWER = f'[ "$(openstack volume show -f value -c created_at "{NEWEST}")" \\> {LONG_AGO:%Y-%m-%dT%H:%M:%S} ] && '
LOST = World(servers=(server(),), mappings=(mapping("A"),), volumes=(volume("available"),))
SOFT_DELETED = server("soft-delete", power_state=SHUTDOWN)
RELEASED = World(
    servers=(server(),),
    tombstones=(tombstone("A"),),
    attachments=(attachment("A"),),
    volumes=(volume(),),
    connected={"A": HOST},
)


@pytest.mark.parametrize(
    ("world", "commands"),
    [
        (World(servers=(deleted(),), mappings=(mapping("A"),)), [f"{CLEANUP} --execute"]),
        (World(servers=(server(),), mappings=(never_attached(),)), [f"{CLEANUP} --execute"]),
        (LOST, [f"{CLEANUP} --restart --no-host --execute"]),
        (LOST.but(host_acts=True), [f"{CLEANUP} --restart --execute"]),
        (LOST.but(servers=(stopped(),)), [f"{CLEANUP} --no-host --execute"]),
        (LOST.but(servers=(stopped(),), host_acts=True), [f"{CLEANUP} --execute"]),
        (LOST.but(servers=(SOFT_DELETED,)), [f"{CLEANUP} --no-host --execute"]),
        (LOST.but(servers=(SOFT_DELETED,), host_acts=True), [f"{CLEANUP} --no-host --execute"]),
        (
            LOST.but(servers=(SOFT_DELETED,), mappings=(mapping("A", boot_index=0),)),
            [GET_CONNECTOR, f"{CLEANUP} --reattach --connector connector.json --execute"],
        ),
        (
            LOST.but(servers=(server("paused"),)),
            [f"openstack server unpause {SERVER}", ACTIVE, f"{CLEANUP} --restart --no-host --execute"],
        ),
        (
            LOST.but(servers=(server("suspended"),), host_acts=True),
            [f"openstack server resume {SERVER}", ACTIVE, f"{CLEANUP} --restart --execute"],
        ),
        (RELEASED, [f"{CLEANUP} --restart --execute"]),
        (RELEASED.but(servers=(stopped(),)), [f"{CLEANUP} --execute"]),
        (
            RELEASED.but(servers=(offloaded(),), connected={}, attachments=(attachment("A", "reserved"),)),
            [f"{CLEANUP} --execute"],
        ),
        (
            LOST.but(attachments=(attachment("B", "reserved"),), volumes=(volume("reserved"),)),
            [GET_CONNECTOR, f"{CLEANUP} --reattach --restart --connector connector.json --execute"],
        ),
        (
            LOST.but(
                servers=(server("paused"),), attachments=(attachment("B", "reserved"),), volumes=(volume("reserved"),)
            ),
            [
                f"openstack server unpause {SERVER}",
                ACTIVE,
                GET_CONNECTOR,
                f"{CLEANUP} --reattach --restart --connector connector.json --execute",
            ],
        ),
        (
            LOST.but(mappings=(mapping("A", boot_index=0),)),
            [GET_CONNECTOR, f"{CLEANUP} --reattach --restart --connector connector.json --execute"],
        ),
        (
            LOST.but(mappings=(mapping("A", boot_index=0),), volumes=()),
            [f"{NEWER}{STOP[0]}", STOP[1], f"{NEWER}{CLEANUP} --allow-root --no-host --execute"],
        ),
        (
            LOST.but(servers=(stopped(),), volumes=()),
            # A volume that nobody deleted is missing too after Cinder's database came back from a backup.
            [f"{NEWER}{CLEANUP} --no-host --execute"],
        ),
        (
            World(servers=(server(),), attachments=(attachment("B", "reserved"),), volumes=(volume("error"),)),
            [
                "openstack volume set --state available volume-1",
                f"{CLEANUP} --execute",
                "openstack volume set --state error volume-1",
            ],
        ),
        (
            World(
                servers=(deleted(power_state=RUNNING),),
                attachments=(attachment("A"),),
                volumes=(volume(),),
                connected={"A": HOST},
            ),
            [
                f"ssh {HOST} virsh -c qemu:///system destroy {SERVER}",
                f"{no_running_guest_on(HOST, SERVER)} && {CLEANUP} --no-host --execute",
            ],
        ),
        (
            LOST.but(servers=(never_launched(),), mappings=(mapping("A", boot_index=0),)),
            [f"{CLEANUP} --allow-root --no-host --execute"],
        ),
        (LOST.but(servers=(stopped(),), host_state=HostState.DOWN), [f"{CLEANUP} --no-host --execute"]),
    ],
)
def test_the_least_harmful_commands_that_act(world: World, commands: list[str]) -> None:
    found = [each for each in with_ways_out(world.but(thorough=True)) if each.code != "consistent"]
    assert [list(each.next) for each in found] == [commands] * len(found)
    assert found[0].reason.endswith(f"Run: {'; then: '.join(commands)}")


def test_what_cannot_be_removed_yet_has_its_command_for_then() -> None:
    young = World(servers=(server(),), mappings=(dataclasses.replace(never_attached(), created_at=None),))
    assert [each.next for each in with_ways_out(young)] == [()]


def test_reattach_names_the_volume_where_another_one_of_the_server_is_to_go() -> None:
    lost = LOST.but(
        servers=(stopped(),),
        mappings=(mapping("A"), mapping("R", "volume-2", boot_index=0)),
        volumes=(volume("available"), volume("available", "volume-2")),
        thorough=True,
    )
    assert {each.volume_id: each.next[-1] for each in with_ways_out(lost)} == {
        "volume-1": f"{CLEANUP} --no-host --execute",
        "volume-2": f"{CLEANUP} --volume volume-2 --reattach --connector connector.json --execute",
    }
    # Of a running server that has lost its root too nothing is to go.
    runs = {each.next[-1] for each in with_ways_out(lost.but(servers=(server(),)))}
    assert runs == {f"{CLEANUP} --reattach --connector connector.json --execute"}


def test_a_purged_server_that_the_journal_knows_has_a_way_out_and_any_other_id_has_none() -> None:
    purged = World(attachments=(attachment("A", "reserved"),), volumes=(volume("reserved"),))
    (unknown,) = with_ways_out(purged)
    assert (unknown.code, unknown.next) == ("attachment-unknown-owner", ())
    (known,) = with_ways_out(purged.but(is_journalled=True))
    assert (known.code, known.disposition) == ("attachment-unknown-owner", "report")
    assert list(known.next) == [f"{CLEANUP} --assume-deleted --execute"]
    assert any(each.startswith("Journal: ") for each in known.evidence)
    # What was connected needs the proof of its host.
    (connected,) = with_ways_out(purged.but(is_journalled=True, attachments=(attachment("A"),), volumes=(volume(),)))
    assert connected.next == ()
