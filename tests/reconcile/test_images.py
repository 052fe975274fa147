# SPDX-License-Identifier: Apache-2.0
"""Which images Ceph is asked for, and what its command answers; no secret of a connection leaves."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from dedangle.core.observations import CinderView, NovaView
from dedangle.core.records import Attachment, BlockDeviceMapping, Reading
from dedangle.reconcile.images import Images
from dedangle.systems.ceph import Ceph

SECRET = "s3cret"
ADDRESS = "192.0.2.7:0/1"


class Side:
    """Nova and Cinder, which know connections, and Ceph, which knows no image."""

    def __init__(self, **connections: dict[str, Any]) -> None:
        self.connections = connections
        self.asked: list[str] = []

    def connection_info(self, mapping: BlockDeviceMapping) -> Reading[dict[str, Any]]:
        return Reading((self.connections[mapping.volume_id],))

    def connection(self, attachment_id: str) -> Reading[dict[str, Any]]:
        return Reading((self.connections[attachment_id],))

    def watchers(self, image: str) -> Reading[str]:
        self.asked.append(image)
        return Reading((ADDRESS,))


def mapping(volume: str, attachment: str) -> BlockDeviceMapping:
    return BlockDeviceMapping(
        id=1,
        uuid=None,
        cell="cell1",
        server_id="server-1",
        volume_id=volume,
        attachment_id=attachment,
        has_connection_info=True,
    )


def attachment(ident: str, volume: str, status: str = "attached") -> Attachment:
    return Attachment(id=ident, server_id="server-1", volume_id=volume, status=status)


def test_images_of_lost_and_of_unnamed_attachments_are_asked_for() -> None:
    side = Side(
        lost={"driver_volume_type": "rbd", "data": {"name": "pool/volume-lost", "secret_uuid": SECRET}},
        unnamed={"connection_info": {"driver_volume_type": "rbd", "name": "pool/volume-unnamed", "keyring": SECRET}},
        iscsi={"connection_info": {"driver_volume_type": "iscsi", "name": "pool/no", "auth_password": SECRET}},
    )
    nova = NovaView(server_id="server-1", mappings=(mapping("lost", "L"), mapping("paired", "P")))
    attachments = (attachment("P", "paired"), attachment("unnamed", "U"), attachment("iscsi", "I"))
    reserved = attachment("reserved", "R", "reserved")
    cinder = CinderView(attachments=Reading((*attachments, reserved)), named={"L": Reading()})

    found = Images(side, side, side).watchers(nova, cinder)  # type: ignore[arg-type]

    assert side.asked == ["pool/volume-lost", "pool/volume-unnamed"]
    assert found == {"lost": Reading((ADDRESS,)), "U": Reading((ADDRESS,))}
    assert SECRET not in repr(found)


@pytest.mark.parametrize(
    ("script", "rows", "complete"),
    [
        (f'echo \'{{"watchers":[{{"address":"{ADDRESS}","client":4}}]}}\'', (ADDRESS,), True),
        ("echo '{\"watchers\":[]}'", (), True),
        ("exit 2", (), True),
        ("exit 1", (), False),
        ("echo nothing", (), False),
        ("exec sleep 60", (), False),
    ],
    ids=["open", "closed", "no image", "fails", "no JSON", "silent"],
)
def test_the_answers_of_the_rbd_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, rows: tuple[str, ...], complete: bool
) -> None:
    command = tmp_path / "rbd"
    command.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n{script}\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    answer = Ceph("/etc/ceph/ceph.conf", 1 if "sleep" in script else 30).watchers("pool/volume-1")
    assert (answer.rows, answer.complete) == (rows, complete)
    asked = (tmp_path / "asked").read_text().split()
    assert asked == ["status", "--conf", "/etc/ceph/ceph.conf", "--format", "json", "--image=pool/volume-1"]


def test_a_machine_without_the_rbd_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not Ceph("/etc/ceph/ceph.conf", 1).watchers("pool/volume-1").complete
