# SPDX-License-Identifier: Apache-2.0
"""What only hosts show: disks, domains and connections that nothing explains; urgent where somebody else may write."""

from __future__ import annotations

import dataclasses
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
from dedangle.core.decisions import FindingKey, HostSide
from dedangle.core.ghosts import Seen, Suspicion
from dedangle.core.records import (
    Attachment,
    BlockDeviceMapping,
    Disk,
    Guest,
    HostConnection,
    Reading,
    Server,
    Volume,
)

CODES = {ghosts.WITHOUT_MAPPING: "M", ghosts.DIFFERS: "D", ghosts.WITHOUT_SERVER: "S"}


def disk(volume_id: str = VOLUME, source: str = "/dev/sdb", **fields: Any) -> Disk:
    return Disk(volume_id=volume_id, source=source, **{"is_running": True, "is_recognised": False, **fields})


def found(
    one: Server | None, bdms: tuple[BlockDeviceMapping, ...], *disks: Disk, host: str = HOST, **fields: Any
) -> list[tuple[str, str, str]]:
    guests = [Guest(server_id=SERVER, disks=disks, **fields)]
    return [
        (CODES[each.code], each.guest.server_id, each.disk.volume_id if each.disk else "")
        for each in ghosts.suspicions(host, guests, ghosts.records([one] if one else [], bdms))
    ]


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
    assert found(one, bdms, *disks, host=host) == [("M", SERVER, VOLUME)]


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


def test_a_domain_without_a_running_disk_is_found_where_nova_does_not_have_its_server() -> None:
    off = {"is_running": False}
    assert found(deleted(), (), disk(is_running=False), **off) == [("S", SERVER, "")]
    assert found(server(), (mapping("A"),), disk(is_running=False), host=OTHER_HOST, **off) == [("S", SERVER, "")]
    assert found(None, ()) == [("S", SERVER, "")]
    assert found(None, (), is_novas=False) == []
    assert found(server(), (), **off) == []
    assert found(server(task_state="migrating"), (), host=OTHER_HOST) == []


def test_a_disk_whose_source_is_not_what_its_mapping_connects_to_is_found() -> None:
    other = disk(expected="/dev/sdx", target="vdb")
    assert found(server(), (mapping("A"),), other) == [("D", SERVER, VOLUME)]
    # What the host cannot compare tells nothing.
    assert found(server(), (mapping("A"),), disk()) == []
    # A copy in progress shows both sides of the one disk.
    assert found(server(), (mapping("A"),), other, disk(source="/dev/sdx", is_recognised=True, target="vdb")) == []
    # A swap that ended: the label is the old volume's, which is attached to another disk by now.
    swapped = (disk(source="/dev/new", expected="/dev/sdx"), disk(SECOND_VOLUME, "/dev/new", is_recognised=True))
    assert found(server(), (mapping("A"), mapping("B", SECOND_VOLUME)), *swapped) == []


def seen(
    one: Server | None, shown: Volume, *attachments: Attachment, code: str = ghosts.WITHOUT_MAPPING, **fields: Any
) -> Seen:
    what = None if code == ghosts.WITHOUT_SERVER else disk(target="vdb", kind="block")
    guest = Guest(server_id=SERVER, is_running=fields.pop("is_running", True))
    return Seen(
        host=HOST,
        suspicion=Suspicion(code, guest, what),
        server=one,
        volume=Reading((shown,)),
        attachments=Reading(attachments),
        **fields,
    )


def test_it_is_urgent_where_somebody_else_may_write_to_the_volume() -> None:
    assert ghosts.judge(seen(server(), volume("available"))).is_urgent
    assert ghosts.judge(seen(server(), volume("available"), attachment("A"))).is_urgent
    assert ghosts.judge(seen(server(), volume(), attachment("B", holder=OTHER_SERVER))).is_urgent
    assert ghosts.judge(seen(server(), volume("reserved"), attachment("B", "reserved", holder=OTHER_SERVER))).is_urgent
    assert not ghosts.judge(seen(server(), volume(), attachment("A"))).is_urgent
    assert not ghosts.judge(seen(server(), volume(multiattach=True))).is_urgent


def test_a_source_that_differs_is_urgent_where_another_guest_has_it() -> None:
    assert not ghosts.judge(seen(server(), volume(), attachment("A"), code=ghosts.DIFFERS)).is_urgent
    shared = ghosts.judge(seen(server(), volume(), attachment("A"), code=ghosts.DIFFERS, same_source=(OTHER_SERVER,)))
    assert shared.is_urgent
    assert f"Host {HOST}: the guest of server {OTHER_SERVER} runs with the same source" in shared.evidence


def test_its_way_out_ends_the_guest_that_nova_does_not_know() -> None:
    assert ghosts.judge(seen(server(), volume("available"))).next == (
        f"openstack server reboot --hard --wait {SERVER}",
    )
    assert ghosts.judge(seen(server("paused"), volume("available"))).next == (
        f"openstack server reboot --hard --wait {SERVER}",
    )
    gone = ghosts.judge(seen(deleted(), volume("available")))
    assert gone.next == (
        f"ssh {HOST} virsh -c qemu:///system destroy {SERVER}",
        f"ssh {HOST} virsh -c qemu:///system undefine --nvram {SERVER}",
    )
    assert gone.reason.startswith("URGENT: ")
    assert gone.reason.endswith(f"Run: {'; then: '.join(gone.next)}")
    off = ghosts.judge(seen(deleted(), volume(), code=ghosts.WITHOUT_SERVER, is_running=False))
    assert off.next == (f"ssh {HOST} virsh -c qemu:///system undefine --nvram {SERVER}",)


def test_no_command_ends_a_domain_that_may_be_of_another_installation() -> None:
    for code in (ghosts.WITHOUT_MAPPING, ghosts.WITHOUT_SERVER):
        assert ghosts.judge(seen(None, volume(), code=code)).next == ()


def test_a_finding_tells_what_the_host_said_and_whose_the_disk_is() -> None:
    finding = ghosts.judge(seen(server(name="web"), volume(name="data", size=3)))
    side = HostSide(host=HOST, domain="running", target="vdb", source="/dev/sdb", source_kind="block")
    assert finding.host_side == (side,)
    assert (finding.server_name, finding.vm_state, finding.volume_name, finding.volume_size) == (
        *("web", "active", "data", 3),
    )


def test_two_disks_of_one_volume_and_two_connections_are_findings_of_their_own() -> None:
    connections = [HostConnection(kind="mount", name="/mnt/a"), HostConnection(kind="iscsi", name="iqn.x LUN 1")]
    found = [
        ghosts.judge(seen(server(), volume())),
        ghosts.judge(dataclasses.replace(seen(server(), volume()), host=OTHER_HOST)),
        *(ghosts.unused(HOST, each) for each in connections),
    ]
    assert len({each.key for each in found}) == 4
    assert {FindingKey.parse(str(each.key)) for each in found[:2]} == {each.key for each in found[:2]}


def test_a_connection_that_nobody_uses_is_closed_by_what_the_kernel_refuses_where_it_is_used() -> None:
    mount = ghosts.unused(HOST, HostConnection(kind="mount", name="/mnt/a"))
    assert mount.next == (f"ssh {HOST} umount /mnt/a",)
    assert mount.reason.startswith(f"Host {HOST} has the mount /mnt/a connected, but no guest there uses it.")
    path = HostConnection(kind="iscsi", name="iqn.x LUN 1", devices=("sdb",))
    assert ghosts.unused(HOST, path).next == ()
    assert "the iSCSI device iqn.x LUN 1 (sdb)" in ghosts.unused(HOST, path).sentence
