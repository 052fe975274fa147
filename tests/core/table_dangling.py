# SPDX-License-Identifier: Apache-2.0
"""The decision table's rows of what dangles, or looks like it: mappings (DN) and attachments (DC)."""

from __future__ import annotations

from table_rows import BESIDE, LINKED, WAITED, Row, kept, reported, world
from worlds import (
    HOST,
    JUST_NOW,
    OTHER_HOST,
    OTHER_SERVER,
    SECOND_VOLUME,
    World,
    attachment,
    deleted,
    mapping,
    never_attached,
    never_launched,
    server,
    stopped,
    tombstone,
    volume,
)

from dedangle.core.records import HostState

TARGET = volume("reserved", SECOND_VOLUME, migration_status=f"target:{SECOND_VOLUME}")

MAPPINGS = (
    Row(
        "DN-1",
        world(servers=(deleted(),), mappings=(mapping("A"),)),
        {"bdm-1": ("mapping-of-deleted-server", "dangling", "report remove remove")},
    ),
    Row(
        "DN-1 never attached, root",
        world(servers=(deleted(),), mappings=(never_attached(boot_index=0),)),
        {"bdm-1": ("mapping-of-deleted-server", "dangling", "report remove remove")},
    ),
    Row(
        "DN-1b",
        world(servers=(deleted(),), mappings=(mapping("A"),), attachments=(attachment("A"),)),
        {
            "bdm-1": ("mapping-of-deleted-server", "dangling", "report remove remove"),
            "A": ("attachment-of-deleted-server", "dangling", "report remove remove"),
        },
    ),
    Row(
        "DN-2",
        world(servers=(never_launched(),), mappings=(mapping("A"),), status="available"),
        {"bdm-1": ("mapping-never-launched", "dangling", "report remove report")},
    ),
    Row(
        "DN-3a, DN-3c",
        world(mappings=(mapping("A"),), status="available"),
        {"bdm-1": ("mapping-without-attachment", "dangling", "remove report report")},
    ),
    Row(
        "DN-3b",
        world(servers=(stopped(),), mappings=(mapping("A"),), status="available"),
        {"bdm-1": ("mapping-without-attachment", "dangling", "remove remove report")},
    ),
    Row(
        "DN-3d",
        world(mappings=(mapping("A"),), attachments=(attachment("C", holder=OTHER_SERVER),)),
        reported("bdm-1", "volume-in-use-elsewhere"),
    ),
    Row(
        "DN-4",
        world(mappings=(never_attached(),), status="available"),
        {"bdm-1": ("mapping-never-attached", "dangling", "remove remove remove")},
    ),
    Row(
        "DN-4 on its way",
        world(mappings=(never_attached(created_at=JUST_NOW),), status="available"),
        {"bdm-1": ("mapping-never-attached", "dangling", WAITED)},
    ),
    Row(
        "DN-4 that Nova makes itself",
        world(mappings=(never_attached(source_type="image"),), status="available"),
        reported("bdm-1", "mapping-never-attached", "dangling"),
    ),
    Row(
        "DN-4b",
        world(mappings=(never_attached(),), attachments=(attachment("B", "reserved"),), status="reserved"),
        {"bdm-1": ("attach-half-made", "dangling", "report remove report")},
    ),
    Row(
        "DN-5",
        world(servers=(stopped(),), mappings=(mapping("A"),), volumes=()),
        {"bdm-1": ("mapping-of-missing-volume", "dangling", "remove remove report")},
    ),
)

ATTACHMENTS = (
    Row(
        "DC-1",
        world(servers=(deleted(),), attachments=(attachment("B"),)),
        {"B": ("attachment-of-deleted-server", "dangling", "report remove remove")},
    ),
    Row(
        "DC-1 volume in error",
        world(servers=(deleted(),), attachments=(attachment("B"),), status="error"),
        reported("B", "attachment-of-deleted-server", "dangling"),
    ),
    Row(
        "DC-1 of a host that is down",
        world(servers=(deleted(),), attachments=(attachment("B"),), host_state=HostState.DOWN),
        kept("B", "in-flight"),
    ),
    Row(
        "DC-2",
        world(mappings=(mapping("A"),), attachments=BESIDE, connected={"A": HOST, "B": OTHER_HOST}),
        {**kept("bdm-1"), **reported("B", "attachment-left-by-migration", "dangling")},
    ),
    Row(
        "DC-2b",
        world(mappings=(mapping("A"),), attachments=BESIDE, connected={"A": HOST, "B": HOST}),
        {**kept("bdm-1"), **reported("B", "attachment-shares-host")},
    ),
    Row(
        "DC-2b of a deleted server",
        world(servers=(deleted(),), attachments=(attachment("B"), attachment("C", holder=OTHER_SERVER))),
        reported("B", "attachment-shares-host"),
    ),
    Row(
        "DC-2c",
        world(
            servers=(server("error"),),
            mappings=(mapping("B"),),
            attachments=(attachment("A"), attachment("B", "reserved")),
            connected={"A": HOST},
        ),
        reported("bdm-1", "mapping-names-reservation"),
    ),
    Row(
        "DC-3",
        world(mappings=(mapping("A"),), attachments=(attachment("A"), attachment("B", "reserved"))),
        {**kept("bdm-1"), "B": ("attachment-never-used", "dangling", "remove remove remove")},
    ),
    Row(
        "DC-4",
        world(attachments=(attachment("B", "reserved"),), status="reserved"),
        {"B": ("attachment-never-used", "dangling", "remove remove remove")},
    ),
    Row(
        "DC-4 target of a migration",
        World(servers=(server(),), attachments=(attachment("B", "reserved", SECOND_VOLUME),), volumes=(TARGET,)),
        kept("B", "in-flight"),
    ),
    Row(
        "DC-5",
        world(tombstones=(tombstone("B"),), attachments=(attachment("B"),)),
        {"B": ("attachment-released-by-nova", "dangling", "remove report report")},
    ),
    Row("DC-6", world(attachments=(attachment("B"),)), reported("B", "attachment-unknown-to-nova")),
    Row(
        "DC-7",
        world(attachments=(attachment("B", "error_attaching"),)),
        reported("B", "attachment-failed", "dangling"),
    ),
    Row(
        "DC-7 beside",
        world(**{**LINKED, "attachments": (attachment("A"), attachment("B", "error_detaching"))}),
        {**kept("bdm-1"), **reported("B", "attachment-failed")},
    ),
    Row(
        "DC-8 Ironic's",
        world(attachments=(attachment("B"),), volumes=(volume(consumer="ironic"),)),
        kept("B", "foreign"),
    ),
    Row(
        "DC-9",
        world(servers=(), attachments=(attachment("B", "reserved"),)),
        reported("B", "attachment-unknown-owner", "foreign"),
    ),
    Row(
        "DC-9 with a mapping",
        world(servers=(), mappings=(mapping("A"),)),
        reported("bdm-1", "mapping-of-deleted-server", "foreign"),
    ),
    Row(
        "DC-9 nothing but a deleted hidden copy",
        world(servers=(deleted(hidden=True),), attachments=(attachment("B", "reserved"),)),
        reported("B", "attachment-unknown-owner", "foreign"),
    ),
    Row(
        "DC-10",
        world(servers=(), building=True, attachments=(attachment("B", "reserved"),)),
        kept("B", "in-flight"),
    ),
)

DANGLING_ROWS = (*MAPPINGS, *ATTACHMENTS)
