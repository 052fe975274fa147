# SPDX-License-Identifier: Apache-2.0
"""The decision table, row by row: the world of each state, and what is said of it.

The reboot door can power the guest off; the command is `cleanup --no-host`; the sweep is past its grace period.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from worlds import (
    HOST,
    JUST_NOW,
    OTHER_HOST,
    OTHER_SERVER,
    SECOND_VOLUME,
    World,
    attachment,
    deleted,
    legacy,
    mapping,
    never_attached,
    never_launched,
    offloaded,
    server,
    stopped,
    volume,
)

from dedangle.core.records import HostState, Marker

KEPT = "protect protect protect"
REPORTED = "report report report"
WAITED = "wait wait wait"


@dataclasses.dataclass(frozen=True)
class Row:
    id: str
    world: World
    expected: dict[str, tuple[str, str, str]]
    """Of what (a mapping's uuid, an attachment's id) -> code, verdict, and what reboot, command and sweep do."""


def world(*, status: str = "in-use", **fields: Any) -> World:
    """A running server with one volume, but for what is said."""
    return World(**{"servers": (server(),), "volumes": (volume(status),), **fields})


def kept(what: str, verdict: str = "consistent") -> dict[str, tuple[str, str, str]]:
    return {what: (verdict, verdict, WAITED if verdict == "in-flight" else KEPT)}


def reported(what: str, code: str, verdict: str = "mismatch") -> dict[str, tuple[str, str, str]]:
    return {what: (code, verdict, REPORTED)}


BESIDE = (attachment("A"), attachment("B"))
LINKED = {"mappings": (mapping("A"),), "attachments": (attachment("A"),), "connected": {"A": HOST}}
CONSISTENT = (
    Row("K-1", world(**LINKED), kept("bdm-1")),
    Row("K-1 error with host", world(**LINKED, servers=(server("error"),)), kept("bdm-1")),
    *(
        Row(
            f"K-2 {name}",
            world(servers=(one,), mappings=(mapping("A"),), attachments=(attachment("A", "reserved"),)),
            kept("bdm-1"),
        )
        for name, one in {"offloaded": offloaded(), "cell0": never_launched()}.items()
    ),
    Row(
        "K-2 attached while offloaded",
        world(servers=(offloaded(),), mappings=(mapping("A"),), attachments=(attachment("A"),)),
        kept("bdm-1"),
    ),
    Row("K-3", world(**LINKED, servers=(server("soft-delete", deleted_at=JUST_NOW),)), kept("bdm-1")),
    Row(
        "K-4",
        world(
            servers=(server("resized"), server("resized", cell="cell2", host=OTHER_HOST, hidden=True)),
            mappings=(mapping("A"), mapping("T", cell="cell2", number=3)),
            attachments=(attachment("A", "reserved"), attachment("T")),
        ),
        {"bdm-1": ("in-flight", "in-flight", WAITED), "bdm-3": ("in-flight", "in-flight", WAITED)},
    ),
    Row(
        "K-5",
        world(mappings=(legacy(),), attachments=(attachment("A"),)),
        {**kept("bdm-1", "legacy"), **kept("A", "legacy")},
    ),
    Row("K-5 without a row", world(mappings=(legacy(),)), kept("bdm-1", "legacy")),
    Row("K-5 of a deleted server", world(servers=(deleted(),), mappings=(legacy(),)), kept("bdm-1", "legacy")),
)

GONE = {"mappings": (mapping("A"),), "status": "available"}
MARKED = {
    "event": world(**GONE, markers=(Marker(kind="event", detail="of attach_volume"),)),
    "migration": world(**GONE, markers=(Marker(kind="migration", detail="1 (resize) is finished"),)),
    "task_state": world(**GONE, markers=(Marker(kind="task_state", detail="rebooting"),)),
    "host down": world(**GONE, host_state=HostState.DOWN),
    "building": world(**GONE, building=True),
    "hidden copy": world(**GONE, servers=(server(), server(cell="cell2", hidden=True))),
    "backing-up": world(mappings=(mapping("A"),), status="backing-up"),
    "volume migrates": world(mappings=(mapping("A"),), volumes=(volume(migration_status="migrating"),)),
}
IN_FLIGHT = tuple(Row(f"F {name}", one, kept("bdm-1", "in-flight")) for name, one in MARKED.items())

MISMATCHES = (
    Row(
        "M-1",
        world(mappings=(mapping("A"),), attachments=(attachment("B", "reserved"),)),
        {
            **reported("bdm-1", "mapping-names-lost-attachment"),
            **reported("B", "attachment-never-used", "dangling"),
        },
    ),
    Row(
        "M-1 swap",
        world(
            mappings=(mapping("A"),),
            attachments=(attachment("B", volume=SECOND_VOLUME),),
            volumes=(volume("available"), volume("in-use", SECOND_VOLUME)),
        ),
        {**reported("bdm-1", "mapping-names-lost-attachment"), **reported("B", "attachment-unknown-to-nova")},
    ),
    Row(
        "M-2",
        world(mappings=(never_attached(),), attachments=(attachment("B"),)),
        reported("bdm-1", "attach-half-made", "dangling"),
    ),
    Row(
        "M-3",
        world(mappings=(mapping("C"),), attachments=(attachment("C", holder=OTHER_SERVER),)),
        reported("bdm-1", "link-mismatch"),
    ),
    Row(
        "M-4",
        world(mappings=(mapping("B"),), attachments=BESIDE, connected={"A": HOST, "B": OTHER_HOST}),
        reported("bdm-1", "migration-half-done"),
    ),
    Row(
        "M-5 attaching",
        world(mappings=(mapping("A"),), attachments=(attachment("A", "attaching"),), status="attaching"),
        reported("bdm-1", "transition-stuck"),
    ),
    Row(
        "M-5 detaching",
        world(mappings=(mapping("A"),), attachments=(attachment("A", "attaching"),), status="detaching"),
        reported("bdm-1", "transition-stuck"),
    ),
    Row(
        "M-7",
        world(
            mappings=(mapping("A"),),
            attachments=(attachment("A"), attachment("B", "error_attaching")),
            status="available",
        ),
        {**reported("bdm-1", "volume-status-wrong"), **reported("B", "attachment-failed")},
    ),
    Row(
        "M-8",
        world(mappings=(mapping("A"), mapping("A", number=3)), attachments=(attachment("A"),)),
        {**reported("bdm-1", "mapping-duplicated"), **reported("bdm-3", "mapping-duplicated")},
    ),
    Row(
        "M-8 on two volumes",
        world(mappings=(mapping("A"), mapping("A", SECOND_VOLUME)), attachments=(attachment("A"),)),
        {**reported("bdm-1", "mapping-duplicated"), **reported("bdm-2", "mapping-duplicated")},
    ),
)

ROOTS = {
    "boot_index": (stopped(), mapping("A", boot_index=0)),
    "root_device_name": (stopped(root_device_name="/dev/vdb"), mapping("A")),
    "only volume without image": (stopped(image_ref=None), mapping("A")),
}
PROTECTED = tuple(
    Row(
        f"P {name}",
        world(servers=(one,), mappings=(root,), status="available"),
        {"bdm-1": ("mapping-without-attachment", "protected", KEPT)},
    )
    for name, (one, root) in ROOTS.items()
)

KEPT_ROWS = (*CONSISTENT, *IN_FLIGHT, *MISMATCHES, *PROTECTED)
