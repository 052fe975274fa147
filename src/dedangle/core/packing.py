# SPDX-License-Identifier: Apache-2.0
"""Ids packed to 16 bytes, and the pages in which the bulk read hands them on."""

from __future__ import annotations

import binascii
import hashlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

ID = 16
NO_ID = bytes(ID)
NO_ID_TEXT = str(uuid.UUID(bytes=NO_ID))

# cinder/objects/fields.py:VolumeAttachStatus; a packed attachment names its status by its place here.
STATUSES = (
    *("attached", "attaching", "detached", "reserved", "error_attaching", "error_detaching", "deleted", "unknown"),
)
ATTACHED = STATUSES.index("attached")
OTHER_STATUS = STATUSES.index("unknown")


@dataclass(frozen=True)
class Rows:
    """Rows of one width, one after the other.

    `misspelled` names the servers whose id is not spelled as Nova spells a UUID, and whose rows are left out: Cinder
    accepts any spelling from users, and a spelling that is not Nova's belongs to a server that Nova does not know.
    """

    packed: bytes
    misspelled: tuple[str, ...] = ()


@dataclass(frozen=True)
class Servers:
    """Live servers of a cell: their ids."""

    cell: str
    rows: Rows


@dataclass(frozen=True)
class Links:
    """Live mappings of a cell as the attachments that should be there: attachment, server, volume, the byte 0."""

    cell: str
    rows: Rows


@dataclass(frozen=True)
class Attachments:
    """Live attachments: attachment, server, volume, one byte for the status."""

    rows: Rows


@dataclass(frozen=True)
class QuietVolumes:
    """Volumes that are in-use while Cinder does nothing with them: their ids."""

    rows: Rows


Page = Servers | Links | Attachments | QuietVolumes


def pack(text: str | None) -> bytes:
    """The id in 16 bytes; where it is no UUID a digest of it, and zeros for none."""
    if not text:
        return NO_ID
    return _uuid(text) or hashlib.blake2b(text.encode(), digest_size=ID).digest()


def unpack(packed: bytes) -> str:
    """The UUID of 16 bytes; of an id that was none it is not the id that was packed."""
    return str(uuid.UUID(bytes=packed))


def status_byte(status: str) -> bytes:
    """The status as its place in STATUSES; every status that is not there is OTHER_STATUS."""
    return bytes([STATUSES.index(status) if status in STATUSES else OTHER_STATUS])


def rows_of(rows: Iterable[tuple[tuple[str | None, ...], bytes]]) -> Rows:
    """Pack rows of ids, the server's in the second place where there are more than one, each with what ends it."""
    packed, misspelled = bytearray(), []
    for ids, end in rows:
        server = ids[1] if len(ids) > 1 else None
        if server and server != unpack(pack(server)):
            misspelled.append(server)
        else:
            packed += b"".join(map(pack, ids)) + end
    return Rows(bytes(packed), tuple(misspelled))


def rows_of_text(text: str, count: int, ids: int, *, flagged: bool = False) -> Rows | None:
    """Pack `count` lines of comma-separated ids, with two hexadecimal digits at the end where flagged.

    Returns None where the text has another number of lines: the database cut it short.
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
