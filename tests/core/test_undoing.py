# SPDX-License-Identifier: Apache-2.0
"""Each fact that stands in the way of an undo, alone: everything else speaks for it."""

import dataclasses
from datetime import datetime, timezone
from typing import Any

import pytest

from dedangle.core import undoing
from dedangle.core.observations import CinderView, NovaView, Observation
from dedangle.core.records import Attachment, BlockDeviceMapping, HostState, Marker, Reading, Refusal, Server, Volume
from dedangle.core.rows import mapping_of, plain_row
from dedangle.core.undoing import Restoration, UndoObservation

ROW = BlockDeviceMapping(
    id=7,
    uuid="bdm",
    cell="cell1",
    server_id="server",
    volume_id="volume",
    attachment_id="lost",
    has_connection_info=True,
    device_name="/dev/vdb",
    created_at=datetime(2026, 8, 1, tzinfo=timezone.utc),
    version="2026-08-01 12:00:00.123456",
)
GONE = dataclasses.replace(ROW, deleted=True)
OTHER = dataclasses.replace(ROW, id=8, uuid="other", volume_id="second", device_name="/dev/vdc", attachment_id="used")
SERVER = Server(id="server", cell="cell1", project_id="project", host="host", vm_state="stopped", power_state=4)
VOLUME = Volume(id="volume", status="available", project_id="project")
OWN = Attachment(id="lost", server_id="server", volume_id="volume", status="attached")
THEIRS = Attachment(id="theirs", server_id="another", volume_id="volume", status="attached")


def observed(
    *,
    removed: BlockDeviceMapping = ROW,
    row: BlockDeviceMapping | None = GONE,
    server: Server = SERVER,
    volume: Volume | None = VOLUME,
    attachments: tuple[Attachment, ...] = (),
    others: tuple[BlockDeviceMapping, ...] = (OTHER,),
    other_servers_bdms: tuple[BlockDeviceMapping, ...] = (),
    resumed: bool = False,
    connector_host: str | None = "host",
    **view: Any,
) -> UndoObservation:
    rows = (row,) if row else ()
    nova = NovaView(
        server_id="server",
        servers=(server,),
        mappings=(*others, *(each for each in rows if not each.deleted)),
        tombstones=tuple(each for each in rows if each.deleted),
        **{"host_state": HostState.UP, **view},
    )
    cinder = CinderView(
        attachments=Reading(),
        volumes={"volume": Reading((volume,) if volume else ())},
        of_volumes={"volume": Reading(attachments)},
    )
    seen = Observation(
        server_id="server", before=nova, cinder=cinder, after=nova, other_servers_bdms=Reading(other_servers_bdms)
    )
    return UndoObservation(removed=removed, seen=seen, resumed=resumed, connector_host=connector_host)


IN_USE = dataclasses.replace(VOLUME, status="in-use")
SHARED = dataclasses.replace(IN_USE, multiattach=True)
RIVAL = dataclasses.replace(ROW, id=9, uuid="rival", server_id="another")
SHELVED = dataclasses.replace(SERVER, host=None, vm_state="shelved_offloaded")


@pytest.mark.parametrize(
    ("changes", "replacement", "must_connect"),
    [
        ({}, None, True),
        ({"removed": dataclasses.replace(ROW, cell="this cell", version="2026-08-01 12:00:00+00:00")}, None, True),
        ({"server": dataclasses.replace(SERVER, vm_state="active", power_state=1)}, None, True),
        ({"server": SHELVED, "connector_host": None}, None, False),
        ({"attachments": (OWN,), "volume": IN_USE, "connector_host": None}, "lost", False),
        ({"attachments": (OWN,), "volume": VOLUME, "connector_host": None}, "lost", False),
        ({"attachments": (dataclasses.replace(OWN, status="reserved"),), "volume": VOLUME}, "lost", True),
        ({"attachments": (dataclasses.replace(OWN, id="new"),), "volume": IN_USE, "resumed": True}, "new", True),
        (
            {
                "attachments": (dataclasses.replace(OWN, id="new", status="attaching"),),
                "volume": dataclasses.replace(VOLUME, status="attaching"),
                "resumed": True,
            },
            "new",
            True,
        ),
        ({"attachments": (THEIRS,), "volume": SHARED, "other_servers_bdms": (RIVAL,)}, None, True),
        ({"other_servers_bdms": (dataclasses.replace(RIVAL, deleted=True),)}, None, True),
        ({"others": (dataclasses.replace(OTHER, boot_index=-1),)}, None, True),
    ],
)
def test_restorable(changes: dict[str, Any], replacement: str | None, must_connect: bool) -> None:
    found = undoing.judge(observed(**changes))
    assert isinstance(found, Restoration), found
    assert (found.replacement.id if found.replacement else None, found.must_connect) == (replacement, must_connect)
    assert found.row.deleted


def boots(row: BlockDeviceMapping) -> BlockDeviceMapping:
    return dataclasses.replace(row, boot_index=0)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"unread": ("Nova's cell2 could not be read",)}, "not everything could be read: Nova's cell2"),
        ({"row": None}, "archived or purged"),
        ({"row": dataclasses.replace(ROW, deleted=True, uuid="reused")}, "archived or purged"),
        ({"row": dataclasses.replace(ROW, deleted=True, id=70)}, "archived or purged"),
        ({"row": ROW}, "restored already"),
        ({"row": dataclasses.replace(ROW, deleted=True, attachment_id="else")}, "has changed since"),
        ({"row": dataclasses.replace(ROW, deleted=True, version="2026-08-02 12:00:00")}, "has changed since"),
        ({"row": dataclasses.replace(ROW, deleted=True, device_name="/dev/vdz")}, "has changed since"),
        ({"server": dataclasses.replace(SERVER, deleted=True)}, "server server is deleted"),
        ({"volume": None}, "no longer has volume volume"),
        ({"server": dataclasses.replace(SERVER, task_state="deleting")}, "busy: task_state deleting"),
        ({"markers": (Marker(kind="migration", detail="3 (resize) is finished"),)}, "busy: migration 3"),
        ({"host_state": HostState.DOWN}, "busy: host is down"),
        ({"server": dataclasses.replace(SERVER, vm_state="error")}, "the server is error"),
        ({"volume": dataclasses.replace(VOLUME, consumer="glance")}, "now belongs to glance"),
        ({"volume": dataclasses.replace(VOLUME, project_id="other")}, "now belongs to project other"),
        ({"others": (dataclasses.replace(ROW, id=9, uuid="anew"),)}, "again, through mapping anew"),
        ({"others": (dataclasses.replace(ROW, id=9, uuid="anew"),), "volume": SHARED}, "again, through mapping anew"),
        ({"others": (dataclasses.replace(OTHER, device_name="/dev/vdb"),)}, "now has volume second as /dev/vdb"),
        (
            {
                "removed": boots(ROW),
                "row": dataclasses.replace(boots(ROW), deleted=True),
                "others": (boots(OTHER),),
            },
            "now boots from volume second",
        ),
        ({"other_servers_bdms": (RIVAL,)}, "server another now has a mapping of the volume"),
        ({"attachments": (THEIRS,), "volume": IN_USE}, "attachment theirs of the volume now belongs to server another"),
        ({"attachments": (dataclasses.replace(OWN, id="new"),), "volume": IN_USE}, "no undo created it"),
        ({"attachments": (OWN, dataclasses.replace(OWN, id="new")), "volume": IN_USE}, "no undo created it"),
        ({"volume": dataclasses.replace(VOLUME, status="error")}, "the volume is error"),
        ({"volume": IN_USE}, "the volume is in-use"),
        ({"volume": dataclasses.replace(VOLUME, status="attaching")}, "busy: volume volume is attaching"),
        ({"connector_host": None}, "Run there: nova-manage volume_attachment get_connector"),
        ({"connector_host": "elsewhere"}, "that of host elsewhere, but the server is on host"),
    ],
)
def test_hindered(changes: dict[str, Any], reason: str) -> None:
    found = undoing.judge(observed(**changes))
    assert isinstance(found, Refusal)
    assert reason in str(found)


@pytest.mark.parametrize(
    ("remedy", "outcome", "reason"),
    [
        ("remove-mapping", "removed", ""),
        ("remove-mapping", None, ""),
        ("remove-mapping", "changed-meanwhile", "it removed nothing: its outcome is changed-meanwhile"),
        ("remove-attachment", "removed", "run: openstack server add volume server-1 volume-1"),
        ("relink-mapping", "relinked", "its remedy is relink-mapping"),
        ("restore-mapping", "restored", "its remedy is restore-mapping"),
        (None, "removed", "its remedy is unknown"),
    ],
)
def test_fit_entries(remedy: str | None, outcome: str | None, reason: str) -> None:
    found = undoing.unfit(remedy, outcome, "server-1", "volume-1")
    assert bool(found) == bool(reason)
    assert reason in str(found)


def test_row_of_the_journal_is_the_mapping_again() -> None:
    kept = plain_row(ROW)
    assert mapping_of({**kept, "a_later_release": 1}) == dataclasses.replace(ROW, created_at=None)
    del kept["created_at"], kept["version"]
    assert mapping_of(kept) == dataclasses.replace(ROW, created_at=None, version=None)
    with pytest.raises(TypeError):
        mapping_of({"id": 7})
