# SPDX-License-Identifier: Apache-2.0
"""Ids packed to 16 bytes, and the pages of the bulk read."""

from __future__ import annotations

import binascii
import hashlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

ID = 16
NO_ID = bytes(ID)
NO_ID_TEXT = str(uuid.UUID(bytes=NO_ID))

# From cinder/objects/fields.py:VolumeAttachStatus. A packed attachment has the index of its status in this tuple.
STATUSES = (
    *("attached", "attaching", "detached", "reserved", "error_attaching", "error_detaching", "deleted", "unknown"),
)
ATTACHED = STATUSES.index("attached")
OTHER_STATUS = STATUSES.index("unknown")


class Named(NamedTuple):
    """What a mapping of Nova names."""

    attachment_id: str
    volume_id: str


@dataclass(frozen=True)
class Rows:
    """Rows of the same width, one after the other.

    `misspelled` are server ids in another spelling than Nova's, without their rows. Cinder accepts any spelling from
    users, and Nova does not know a server with such an id.
    """

    packed: bytes
    misspelled: tuple[str, ...] = ()
    left_out: tuple[bytes, ...] = ()
    """The packed volume ids of the rows of misspelled servers, which `packed` does not have."""


@dataclass(frozen=True)
class Servers:
    """Live servers of a cell: their ids."""

    cell: str
    rows: Rows


@dataclass(frozen=True)
class Links:
    """Live mappings of a cell as the attachments that Cinder should have: attachment, server, volume, the byte 0."""

    cell: str
    rows: Rows


@dataclass(frozen=True)
class Attachments:
    """Live attachments: attachment, server, volume, a byte for the status."""

    rows: Rows


@dataclass(frozen=True)
class QuietVolumes:
    """Ids of quiet volumes: in-use, without an operation in progress in Cinder."""

    rows: Rows


Page = Servers | Links | Attachments | QuietVolumes


def pack(text: str | None) -> bytes:
    """Return the id in 16 bytes: a digest if it is not a UUID, zeros if there is none."""
    if not text:
        return NO_ID
    return _uuid(text) or hashlib.blake2b(text.encode(), digest_size=ID).digest()


def unpack(packed: bytes) -> str:
    """Return the UUID of 16 bytes; for a digest this is not the original id."""
    return str(uuid.UUID(bytes=packed))


def status_byte(status: str) -> bytes:
    """Return the index of the status in STATUSES, or OTHER_STATUS for an unknown status."""
    return bytes([STATUSES.index(status) if status in STATUSES else OTHER_STATUS])


def rows_of(rows: Iterable[tuple[tuple[str | None, ...], bytes]]) -> Rows:
    """Pack rows of ids, each with the bytes at its end. In rows of several ids the server's id is the second one."""
    packed, misspelled, left_out = bytearray(), list[str](), list[bytes]()
    for ids, end in rows:
        server = ids[1] if len(ids) > 1 else None
        if server and server != unpack(pack(server)):
            misspelled.append(server)
            left_out += map(pack, ids[2:])
        else:
            packed += b"".join(map(pack, ids)) + end
    return Rows(bytes(packed), tuple(misspelled), tuple(left_out))


def rows_of_text(text: str, count: int, ids: int, *, flagged: bool = False) -> Rows | None:
    """Pack `count` lines of comma-separated ids, with two hexadecimal digits at the end if `flagged`.

    Returns None if the text has another number of lines, because the database has truncated it.
    """
    width = 37 * ids + 3 * flagged
    marks = {start + place: "-" for start in range(0, 37 * ids, 37) for place in (8, 13, 18, 23)}
    marks |= {**dict.fromkeys(range(36, width, 37), ","), width - 1: "\n"}
    even = all(text[place::width] == mark * count for place, mark in marks.items())
    if even and len(text) == count * width and not any(map(text.__contains__, "ABCDEF")):
        try:
            packed = binascii.unhexlify(text.encode().translate(None, b"-,\n"))
        except ValueError:
            packed = b""
        if len(packed) == count * (ID * ids + flagged):
            return Rows(packed)
    lines = [each.split(",") for each in text.splitlines()]
    if len(lines) != count or any(len(line) != ids + flagged for line in lines) or text[-1:] not in ("", "\n"):
        return None
    if flagged and any(len(line[ids]) != 2 for line in lines):
        return None
    return rows_of((tuple(line[:ids]), bytes.fromhex(line[ids]) if flagged else b"") for line in lines)


def _uuid(text: str) -> bytes:
    try:
        packed = bytes.fromhex(text.replace("-", ""))
    except ValueError:
        return b""
    return packed if len(packed) == ID else b""
