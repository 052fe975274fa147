# SPDX-License-Identifier: Apache-2.0
"""What the XML of the domains on a host says of the volumes behind their disks."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nova import exception, objects

from dedangle.core.records import Disk
from dedangle.systems import block_devices, guests, libvirt

objects.register_all()

SERVER, OTHER = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
VOLUME, NEW = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa", "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
OURS, ANOTHER = "3600a098038302d492b2b4e2f58743241", "3600a098038302d492b2b4e2f58743999"
RBD = "<disk type='network'><source protocol='rbd' name='volumes/volume-1'><host name='192.0.2.1'/></source>{}</disk>"
FILE = "<disk type='file'><source file='/mnt/export/volume-1'/>{}</disk>"
BLOCK = "<disk type='block'><source dev='/dev/sdb' index='2'/>{}</disk>"
COPIED = "<disk type='block'><source dev='/dev/sdb'/><mirror job='copy'><source dev='/dev/sdc'/></mirror>{}</disk>"
METADATA = "<metadata><n:instance xmlns:n='http://openstack.org/xmlns/libvirt/nova/1.1'/></metadata>"
SERIAL, ALIAS = f"<serial>{VOLUME}</serial>", f"<alias name='ua-{VOLUME}'/>"


class Guest:
    def __init__(
        self, *disks: str, uuid: str = SERVER, active: bool = True, later: tuple[str, ...] | None = None
    ) -> None:
        self.uuid = uuid
        self._active = active
        self._xml = {False: disks, True: disks if later is None else later}

    def get_xml_desc(self, dump_inactive: bool = False) -> str:
        disks = "".join(self._xml[dump_inactive])
        return f"<domain>{METADATA}<devices>{disks}</devices></domain>"

    def is_active(self) -> int:
        return int(self._active)


class Host:
    def __init__(self, *guests: Guest) -> None:
        self._guests = guests

    def get_guest(self, instance: Any) -> Guest:
        for each in self._guests:
            if each.uuid == instance.uuid:
                return each
        raise exception.InstanceNotFound(instance_id=instance.uuid)

    def list_guests(self, only_running: bool = True) -> list[Guest]:
        return [each for each in self._guests if each.is_active() or not only_running]


def driver(*guests: Guest) -> Any:
    return SimpleNamespace(_host=Host(*guests))


def bdm(volume: str, kind: str, number: int = 1, deleted_at: str | None = None, **data: Any) -> Any:
    info = json.dumps({"driver_volume_type": kind, "data": data})
    return SimpleNamespace(
        id=number, volume_id=volume, connection_info=info, deleted=bool(deleted_at), deleted_at=deleted_at
    )


@pytest.fixture
def mapped(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    bdms: list[Any] = []
    monkeypatch.setattr("dedangle.systems.libvirt._bdms", lambda servers: dict.fromkeys(servers, bdms))
    return bdms


def disk(source: str, *, recognised: bool = True, running: bool = True, volume: str = VOLUME) -> Disk:
    return Disk(volume_id=volume, source=source, is_running=running, is_recognised=recognised)


@pytest.mark.parametrize(
    ("xml", "source", "mapping"),
    [
        (RBD.format(SERIAL), "volumes/volume-1", bdm(VOLUME, "rbd", name="volumes/volume-1", auth_username="cinder")),
        (FILE.format(ALIAS), "/mnt/export/volume-1", bdm(VOLUME, "nfs", device_path="/mnt/export/volume-1", name="v")),
        (BLOCK.format(SERIAL + ALIAS), "/dev/sdb", bdm(VOLUME, "iscsi", device_path="/dev/sdb")),
    ],
)
def test_a_source_is_recognised(mapped: list[Any], xml: str, source: str, mapping: Any) -> None:
    found = libvirt.disks(driver(Guest(xml)), SERVER)
    assert found.rows == (disk(source, recognised=False),)
    mapped.append(mapping)
    assert libvirt.disks(driver(Guest(xml)), SERVER).rows == (disk(source),)
    assert libvirt.disks(driver(Guest(xml, active=False)), SERVER).rows == (disk(source, running=False),)


def test_the_live_mapping_counts_and_else_the_newest_that_was_deleted(mapped: list[Any]) -> None:
    old = bdm(VOLUME, "iscsi", 2, "2026-01-01", device_path="/dev/sdb")
    new = bdm(VOLUME, "iscsi", 1, "2026-01-02", device_path="/dev/sdx")
    mapped += [old, new]
    guest = driver(Guest(BLOCK.format(SERIAL)))
    assert libvirt.disks(guest, SERVER).rows == (disk("/dev/sdb", recognised=False),)
    mapped += [bdm(VOLUME, "iscsi", 3, device_path="/dev/sdb")]
    assert libvirt.disks(guest, SERVER).rows == (disk("/dev/sdb"),)


def test_a_copy_in_progress_shows_both_sides(mapped: list[Any]) -> None:
    mapped += [bdm(VOLUME, "iscsi", device_path="/dev/sdb"), bdm(NEW, "iscsi", device_path="/dev/sdc")]
    assert libvirt.disks(driver(Guest(COPIED.format(SERIAL))), SERVER).rows == (
        disk("/dev/sdb"),
        disk("/dev/sdc", recognised=False),
        disk("/dev/sdc", volume=NEW),
    )


def test_a_disk_of_the_running_domain_and_one_of_the_next(mapped: list[Any]) -> None:
    mapped += [bdm(VOLUME, "iscsi", device_path="/dev/sdb")]
    guest = Guest(BLOCK.format(SERIAL), later=())
    assert libvirt.disks(driver(guest), SERVER).rows == (disk("/dev/sdb"),)
    guest = Guest(later=(BLOCK.format(SERIAL),))
    assert libvirt.disks(driver(guest), SERVER).rows == (disk("/dev/sdb", running=False),)


def test_a_disk_that_is_passed_through_leaves_the_guest_unread(mapped: list[Any]) -> None:
    passed = BLOCK.format("").replace("<disk", "<disk device='lun'")
    assert not libvirt.disks(driver(Guest(passed)), SERVER).complete
    assert libvirt.disks(driver(Guest(passed.replace("</disk>", ALIAS + "</disk>"))), SERVER).complete


@pytest.mark.parametrize(
    ("device", "number", "wwn", "recognised"),
    [
        ("mpath-{}", "dm-0", OURS, True),
        ("mpath-{}", "dm-0", ANOTHER, False),
        # The device got another number when the host started again.
        ("mpath-{}", "dm-7", OURS, True),
        ("mpath-{}", "dm-7", ANOTHER, False),
        ("CRYPT-LUKS1-volume", "dm-0", OURS, True),
        ("CRYPT-LUKS1-volume", "dm-0", ANOTHER, False),
        # Without a WWN the path decides.
        ("LVM-volume", "dm-0", ANOTHER, True),
    ],
)
def test_a_device_is_the_volume_whose_wwn_it_has(
    mapped: list[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    number: str,
    wwn: str,
    recognised: bool,
) -> None:
    monkeypatch.setattr(block_devices, "ROOT", tmp_path)
    for file, text in (
        ("dm-0/dm/uuid", device.format(wwn)),
        ("dm-0/slaves/sdz/dev", ""),
        ("sdz/device/wwid", f"naa.{wwn[1:]}"),
    ):
        path = tmp_path / "sys/block" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    mapped += [bdm(VOLUME, "iscsi", device_path=f"/dev/{number}", multipath_id=OURS)]
    xml = BLOCK.format(SERIAL).replace("/dev/sdb", "/dev/dm-0")
    (found,) = libvirt.disks(driver(Guest(xml)), SERVER).rows
    assert found == disk("/dev/dm-0", recognised=recognised)
    assert found.wwn == ("" if device.startswith("LVM") else wwn)
    assert found.expected == ("" if recognised else f"/dev/{number} (WWN {OURS})")


def test_what_is_not_libvirt_is_unread() -> None:
    assert not guests.disks(object(), SERVER).complete
    assert not guests.of(object()).sources_of_others(object(), SERVER).complete
    assert libvirt.disks(driver(), SERVER).absent


def test_the_sources_of_other_guests() -> None:
    others = driver(Guest(BLOCK.format("")), Guest(COPIED.format(""), RBD.format(""), uuid=OTHER, active=False))
    assert libvirt.sources_of_others(others, SERVER).rows == (
        (OTHER, "/dev/sdb"),
        (OTHER, "/dev/sdc"),
        (OTHER, "volumes/volume-1"),
    )


def test_two_names_of_one_device(tmp_path: Any) -> None:
    (tmp_path / "sdb").touch()
    (tmp_path / "by-id").symlink_to(tmp_path / "sdb")
    assert libvirt.is_same_source(str(tmp_path / "by-id"), str(tmp_path / "sdb"))
    assert not libvirt.is_same_source("volumes/volume-1", "volumes/volume-2")


class Vanished(Guest):
    def get_xml_desc(self, dump_inactive: bool = False) -> str:
        raise RuntimeError("Domain not found")


def test_all_guests_page_by_page_and_some_of_them(mapped: list[Any]) -> None:
    mapped += [bdm(VOLUME, "iscsi", device_path="/dev/sdb")]
    both = driver(Guest(BLOCK.format(SERIAL)), Guest(uuid=OTHER, active=False))
    first = libvirt.guests(both, "", 1, None)
    assert [(each.server_id, each.is_running, each.disks) for each in first.rows] == [
        (SERVER, True, (disk("/dev/sdb"),))
    ]
    second = libvirt.guests(both, SERVER, 1, None)
    assert [(each.server_id, each.is_running, each.disks) for each in second.rows] == [(OTHER, False, ())]
    assert libvirt.guests(both, OTHER, 1, None).absent
    assert [each.server_id for each in libvirt.guests(both, "", 9, [OTHER]).rows] == [OTHER]
    assert all(each.is_novas for each in libvirt.guests(both, "", 9, None).rows)


def test_one_question_for_all_guests_and_one_for_each_answer_alike(mapped: list[Any]) -> None:
    mapped += [bdm(VOLUME, "iscsi", device_path="/dev/sdx")]
    passed = BLOCK.format("").replace("<disk", "<disk device='lun'")
    for xml in (BLOCK.format(SERIAL), COPIED.format(SERIAL), RBD.format(ALIAS), passed):
        one = driver(Guest(xml, later=()))
        (guest,) = libvirt.guests(one, "", 9, None).rows
        assert guest.reading == libvirt.disks(one, SERVER)


def test_a_guest_that_ends_while_it_is_read_is_left_out_and_one_that_cannot_be_read_says_why() -> None:
    both = driver(Vanished(), Guest(uuid=OTHER))
    (unread, other) = libvirt.guests(both, "", 9, None).rows
    assert (unread.server_id, unread.disks) == (SERVER, ())
    assert "RuntimeError" in unread.why
    assert other.why == ""
    both._host.get_guest = Host().get_guest
    assert [each.server_id for each in libvirt.guests(both, "", 9, None).rows] == [OTHER]


def test_what_a_disk_is_called_and_should_be(mapped: list[Any]) -> None:
    mapped += [bdm(VOLUME, "iscsi", device_path="/dev/sdx", auth_password="s3cret")]
    target = "<target dev='vdb'/>"
    (found,) = libvirt.disks(driver(Guest(BLOCK.format(SERIAL + target))), SERVER).rows
    assert (found.target, found.kind, found.expected) == ("vdb", "block", "/dev/sdx")
    (found,) = libvirt.disks(driver(Guest(RBD.format(SERIAL))), SERVER).rows
    assert (found.target, found.kind, found.expected) == ("", "network rbd", "/dev/sdx")
    assert "s3cret" not in repr(found)
