# SPDX-License-Identifier: Apache-2.0
"""When two connections may lead to the same device."""

from typing import Any

import pytest

from dedangle.core.addresses import Connection, conflict, keys, recorded_wwn, sources, targets

IQN = "iqn.2010-10.org.openstack:volume-1"
WWN = "3600a098038302d492b2b4e2f58743241"


def connection(kind: str, **data: Any) -> dict[str, Any]:
    return {"driver_volume_type": kind, "data": data}


def iscsi(lun: Any = 1, **data: Any) -> dict[str, Any]:
    return connection("iscsi", target_iqn=IQN, target_lun=lun, target_portal="192.0.2.1:3260", **data)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (iscsi(), iscsi("1")),
        (iscsi(device_path="/dev/sda"), connection("local", device_path="/dev/sda")),
        (iscsi(), connection("iscsi", target_iqns=["iqn.of-another", IQN.upper()], target_luns=[2, 1])),
        (iscsi(), connection("iscsi", target_iqns=["iqn.of-another", IQN], target_lun=1)),
        (connection("fibre_channel", target_wwn=["5006:0160".replace(":", "") + "12345678"], target_lun=3),) * 2,
        (
            connection("fibre_channel", target_wwn="50:06:01:60:12:34:56:78", target_lun=3),
            connection("fibre_channel", target_wwns=["0x5006016012345678"], target_luns=["3"]),
        ),
        (
            connection("fibre_channel", target_wwn="5006016012345678", target_lun=3),
            connection("fibre_channel", initiator_target_map={"10000090fa534cd0": ["5006016012345678"]}, target_lun=3),
        ),
        (
            connection("fibre_channel", target_wwn="5006016012345678", target_lun=3),
            connection("fibre_channel", initiator_target_lun_map={"10000090fa534cd0": [["5006016012345678", 3]]}),
        ),
        (
            connection("nvmeof", target_nqn="nqn.2014-08.org:a", ns_id=1),
            connection("nvmeof", target_nqn="nqn.2014-08.org:a", ns_id="1", vol_uuid="a-uuid"),
        ),
        (
            connection("nvmeof", volume_replicas=[{"target_nqn": "nqn.a", "vol_uuid": "a-uuid"}]),
            connection("nvmeof", target_nqn="nqn.a", vol_uuid="a-uuid"),
        ),
        (connection("rbd", name="volumes/volume-1", auth_username="a"), connection("rbd", name="volumes/volume-1")),
        (
            connection("nfs", export="192.0.2.1:/a", name="volume-1"),
            connection("nfs", export="192.0.2.1:/a", name="volume-1"),
        ),
        (connection("fibre_channel", multipath_id=WWN), connection("iscsi", multipath_id=WWN)),
        # Of an unknown kind all counts but what differs between two uses of one volume.
        (
            connection("storpool", volume="a", attachment_id="1", auth_password="x", access_mode="rw", volume_id="1"),
            connection("storpool", volume="a", attachment_id="2", auth_password="y", access_mode="ro", volume_id="2"),
        ),
    ],
)
def test_the_same_device(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert keys(one) & keys(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (iscsi(1), iscsi(2)),
        (iscsi(1), connection("iscsi", target_iqns=["iqn.of-another", IQN], target_luns=[1, 2])),
        (connection("nvmeof", target_nqn="nqn.a", ns_id=1), connection("nvmeof", target_nqn="nqn.a", ns_id=2)),
        (connection("rbd", name="volumes/volume-1"), connection("rbd", name="volumes/volume-2")),
        (connection("nfs", export="a:/b", name="volume-1"), connection("nfs", export="a:/b", name="volume-2")),
        (connection("storpool", volume="a"), connection("storpool", volume="b")),
        (connection("storpool", volume="a"), connection("scaleio", volume="a")),
    ],
)
def test_another_device(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert keys(one)
    assert not keys(one) & keys(other)


@pytest.mark.parametrize("unknown", [{}, {"data": None}, connection("iscsi", access_mode="rw", auth_password="x")])
def test_an_address_that_is_unknown(unknown: dict[str, Any]) -> None:
    assert not keys(unknown)


def test_no_secret_is_in_a_key() -> None:
    data = {
        "auth_password": "s3cret",
        "secret_uuid": "s3cret",
        "keyring": "s3cret",
        "discovery_auth_password": "s3cret",
    }
    for kind in ("iscsi", "rbd", "unknown"):
        assert "s3cret" not in str(keys(connection(kind, name="a", **data)))


def test_a_disk_s_source() -> None:
    assert sources(connection("rbd", name="volumes/volume-1", hosts=["192.0.2.1"])) == {"volumes/volume-1"}
    assert sources(connection("nfs", export="a:/b", name="volume-1", device_path="/mnt/volume-1")) == {"/mnt/volume-1"}
    assert sources(iscsi()) == sources({}) == frozenset()


def test_targets_with_their_luns() -> None:
    assert targets(iscsi(0)) == {(IQN, "0")}
    assert targets(connection("iscsi", target_lun=1)) == frozenset()


@pytest.mark.parametrize(
    ("data", "wwn"),
    [
        ({"multipath_id": WWN}, WWN),
        ({"multipath_id": "mpatha"}, ""),
        ({"device_path": f"/dev/disk/by-id/dm-uuid-mpath-{WWN}"}, WWN),
        ({"device_path": f"/dev/disk/by-id/scsi-{WWN}"}, WWN),
        ({"device_path": f"/dev/disk/by-id/wwn-0x{WWN[1:]}"}, WWN),
        ({"device_path": f"/dev/mapper/{WWN}"}, WWN),
        ({"device_path": "/dev/sda"}, ""),
        ({"device_path": "/dev/sda", "wwn": WWN.upper()}, WWN),
        ({}, ""),
    ],
)
def test_the_wwn_that_was_recorded(data: dict[str, Any], wwn: str) -> None:
    assert recorded_wwn(connection("iscsi", **data)) == wwn


def other(info: dict[str, Any], *, is_attaching: bool = False) -> Connection:
    return Connection(server_id="server-2", volume_id="volume-2", is_attaching=is_attaching, connection_info=info)


@pytest.mark.parametrize(
    ("mine", "theirs", "why"),
    [
        (iscsi(1), other(iscsi(2)), ""),
        # Never attached: nothing is connected.
        (iscsi(1), other({}), ""),
        (iscsi(1), other(iscsi(1)), "server server-2 on the host uses the same address for volume volume-2"),
        (iscsi(1), other({}, is_attaching=True), "server server-2 is attaching volume volume-2"),
        (
            iscsi(1),
            other(connection("iscsi")),
            "the address of volume volume-2 of server server-2 on the host is",
        ),
        (connection("iscsi"), other(iscsi(1)), "its mapping has no address"),
    ],
)
def test_who_else_may_use_the_address(mine: dict[str, Any], theirs: Connection, why: str) -> None:
    found = conflict(mine, [other(iscsi(3)), theirs])
    assert str(found or "").startswith(why)
    assert bool(found) == bool(why)
    assert "192.0.2.1" not in repr(theirs)
