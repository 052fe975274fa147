# SPDX-License-Identifier: Apache-2.0
"""The bulk comparison of Nova and Cinder: it only finds servers that may have a finding (suspects)."""

from __future__ import annotations

import contextlib
import dataclasses
import struct
from collections import Counter
from collections.abc import Iterable, Iterator

from dedangle.core import packing, planning
from dedangle.core.decisions import Finding
from dedangle.core.judging import ownerless
from dedangle.core.packing import ID, NO_ID, Named
from dedangle.core.planning import Scope
from dedangle.core.records import Attachment
from dedangle.core.sharding import WHOLE, Shard
from dedangle.reconcile.spool import PARTS, Spool

_SERVER, _VOLUME, _PLACE, _STATUS = slice(ID, 2 * ID), slice(2 * ID, 3 * ID), slice(ID, 3 * ID), 3 * ID
_ROW = _STATUS + 1
_SERVERS = struct.Struct(f"{ID}x{ID}s{_ROW - 2 * ID}x")
_NAMED = 1000


@dataclasses.dataclass(frozen=True)
class Screen:
    """The result of the bulk read."""

    suspects: list[str]
    """Ids of servers that may have a finding, in order."""
    paired: int
    """The number of consistent pairs."""
    ownerless: list[Finding]
    totals: Counter[Scope]
    """The number of attachments in each scope, for the removal limit."""
    every_cell_read: bool = True
    """Whether every cell was read."""
    unheld: frozenset[str] = frozenset()
    """Volumes that are in-use without a row in Nova or Cinder; only known if the whole cloud was read."""
    shared: dict[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    """By volume: the servers that share it, each with a complete pair. Only a multi-attach volume may be shared."""
    servers: int = 0
    """The number of live servers."""
    volumes: int = 0
    """The number of volumes that a live mapping or attachment names."""

    def suspecting_sharers_of(self, volume_ids: Iterable[str]) -> Screen:
        """Return the screen with the servers that share one of the volumes added to the suspects."""
        sharers = {server for volume_id in volume_ids for server in self.shared[volume_id]}
        return dataclasses.replace(self, suspects=sorted({*self.suspects, *sharers}))


@dataclasses.dataclass(frozen=True)
class Holdings:
    """Attachments of some servers and volumes, from the bulk read."""

    rows: tuple[Attachment, ...] = ()
    """The attachments of the servers, and all attachments of their volumes and of the given volumes."""
    of_servers: tuple[Attachment, ...] = ()
    unsure_servers: frozenset[str] = frozenset()
    """Servers with a row that appeared twice and had changed, or with an unknown status."""
    unsure_volumes: frozenset[str] = frozenset()
    """Volumes with such a row, or with a row of a server whose id is misspelled."""


class _Cell:
    """The rows of one cell."""

    def __init__(self, files: contextlib.ExitStack) -> None:
        self.servers = Spool(ID, files)
        self.linked = Spool(ID, files)
        self.links = Spool(_ROW, files, by=2 * ID)
        self.count = 0
        """The number of servers of the shard."""


class Gathered:
    """The rows of Nova and Cinder, added in any order.

    Ids are kept in temporary files, 49 bytes for an attachment and 65 for a mapping, and compared part by part. With
    3,000,000 attachments a part takes less memory than Nova's modules.
    """

    def __init__(self, shard: Shard = WHOLE) -> None:
        self._shard = shard
        self._files = contextlib.ExitStack()
        self._cells: dict[str, _Cell] = {}
        # Both rows of a pair have the same volume, so they are in the same part as the volume.
        self._attachments = Spool(_ROW, self._files, by=2 * ID)
        self._volumes = Spool(ID, self._files)
        self._misspelled: set[str] = set()
        self._left_out: set[bytes] = set()
        self._every_cell_read = True
        self._shared: dict[bytes, set[bytes]] = {}
        self._unheld: set[bytes] = set()
        self._held = 0
        self.has_links = False
        self.named: list[Named] = []
        """What some of Nova's mappings name: attachments and volumes whose ids are random."""

    def __enter__(self) -> Gathered:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def take(self, pages: Iterable[packing.Page]) -> None:
        """Add the rows of the pages; raise NoRoomError if the temporary files cannot be written."""
        for page in pages:
            if isinstance(page, packing.Servers):
                cell = self._cell(page.cell)
                cell.servers.add(page.rows.packed)
                cell.count += self._count_held(page.rows.packed)
            elif isinstance(page, packing.Links):
                self.has_links = self.has_links or bool(page.rows.packed)
                packed, cell = self._own(page.rows), self._cell(page.cell)
                if len(self.named) < _NAMED:
                    self.named += _named(page.rows.packed)
                cell.links.add(packed)
                cell.linked.add(b"".join(server for (server,) in _SERVERS.iter_unpack(packed)))
            elif isinstance(page, packing.Attachments):
                self._left_out.update(page.rows.left_out)
                self._attachments.add(self._own(page.rows))
            else:
                self._volumes.add(page.rows.packed)

    def forget(self, cell: str) -> None:
        """Drop the rows of a cell that was not read completely; its servers' attachments are unpaired then."""
        self._cells.pop(cell, None)
        self._every_cell_read = False

    def screen(self) -> Screen:
        """Compare the rows of Nova and Cinder, and return the result."""
        suspects: set[bytes] = set()
        unowned: list[Finding] = []
        totals: Counter[Scope] = Counter()
        for number in range(PARTS):
            attachments = set(self._attachments.part(number))
            totals[planning.RUN] += len(attachments)
            unpaired = self._unpaired(number, attachments)
            suspects.update(each[_SERVER] for each in unpaired)
            unowned += [_unowned(each) for each in unpaired if each in attachments and each[_SERVER] == NO_ID]
        paired = sum(self._count(number, suspects, totals) for number in range(PARTS))
        if not self._every_cell_read:
            # The percentage of the removal limit must only count attachments that can be judged.
            read = sum(count for (kind, _), count in totals.items() if kind == "cell")
            totals[planning.RUN] = min(totals[planning.RUN], max(read, planning.PERCENT_FROM))
        named = map(packing.unpack, suspects - {NO_ID})
        shared = {packing.unpack(each): frozenset(map(packing.unpack, by)) for each, by in self._shared.items()}
        is_whole = self._every_cell_read and self._shard == WHOLE and not self._misspelled
        return Screen(
            suspects=sorted({*named, *self._misspelled}),
            paired=paired,
            ownerless=unowned,
            totals=totals,
            every_cell_read=self._every_cell_read,
            unheld=frozenset(map(packing.unpack, self._unheld)) if is_whole else frozenset(),
            shared=shared,
            servers=sum(cell.count for cell in self._cells.values()),
            volumes=self._held,
        )

    @property
    def is_whole(self) -> bool:
        """Whether the attachments of all servers are kept, not only those of a shard."""
        return self._shard.count == 1

    def holdings(self, servers: Iterable[str], volumes: Iterable[str]) -> Holdings:
        """Return the attachments of the servers, and all attachments of their volumes and of the given volumes."""
        wanted, asked = set(map(packing.pack, servers)), set(map(packing.pack, volumes))
        rows: dict[str, Attachment] = {}
        of_servers, unsure = list[Attachment](), list[Attachment]()
        for number in range(PARTS):
            # All rows of a volume are in one part.
            part = set(self._attachments.part(number))
            own = {each for each in part if each[_SERVER] in wanted}
            about = asked.union(each[_VOLUME] for each in own)
            for packed in part:
                if packed[_VOLUME] in about:
                    row = _attachment(packed)
                    if row.id in rows or packed[_STATUS] == packing.OTHER_STATUS:
                        unsure += [row, *([rows[row.id]] if row.id in rows else [])]
                    rows[row.id] = row
                    if packed in own:
                        of_servers.append(row)
        left_out = map(packing.unpack, self._left_out)
        return Holdings(
            rows=tuple(rows.values()),
            of_servers=tuple(of_servers),
            unsure_servers=frozenset(each.server_id for each in unsure if each.server_id),
            unsure_volumes=frozenset({*left_out, *(each.volume_id for each in unsure)}),
        )

    def _unpaired(self, number: int, attachments: set[bytes]) -> set[bytes]:
        """Return the rows of this part without exactly one counterpart, or with a volume that is not quiet."""
        links = [each for cell in self._cells.values() for each in cell.links.part(number)]
        linked = set(links)
        unpaired = attachments ^ linked
        if len(links) > len(linked):
            unpaired.update(each for each, times in Counter(links).items() if times > 1)
        volumes = {each[_VOLUME] for each in linked}
        if len(volumes) < len(linked):
            # Several servers may share a volume, but each of them must have only one mapping of it.
            places = Counter(each[_PLACE] for each in linked)
            unpaired.update(each for each in linked if places[each[_PLACE]] > 1)
            self._note_shared(linked)
        # A part has all rows of its volumes, and attachments without a mapping are among the unpaired rows.
        held = volumes.union(each[_VOLUME] for each in unpaired)
        self._held += len(held)
        quiet = set(self._volumes.part(number))
        self._unheld |= quiet - held
        loud = volumes - quiet
        if loud:
            unpaired.update(each for each in linked if each[_VOLUME] in loud)
        return unpaired

    def _note_shared(self, linked: set[bytes]) -> None:
        times = Counter(each[_VOLUME] for each in linked)
        for each in linked:
            if times[each[_VOLUME]] > 1:
                self._shared.setdefault(each[_VOLUME], set()).add(each[_SERVER])

    def _count(self, number: int, suspects: set[bytes], totals: Counter[Scope]) -> int:
        """Count the mappings of this part, and add servers without a live row to the suspects.

        Returns the number of mappings of other servers.
        """
        counts: Counter[bytes] = Counter()
        for name, cell in self._cells.items():
            linked = cell.linked.part(number)
            totals["cell", name] += len(linked)
            counts.update(linked)
            suspects.update(set(linked).difference(cell.servers.part(number)))
        return counts.total() - sum(counts[each] for each in suspects & counts.keys())

    def _own(self, rows: packing.Rows) -> bytes:
        """Return the rows of the shard's servers. Both rows of a pair name the same server, so they stay together."""
        self._misspelled.update(filter(self._shard.holds, rows.misspelled))
        if self._shard.count == 1:
            return rows.packed
        each_row = (rows.packed[at : at + _ROW] for at in range(0, len(rows.packed), _ROW))
        return b"".join(row for row in each_row if self._shard.holds(_server(row)))

    def _count_held(self, servers: bytes) -> int:
        if self._shard.count == 1:
            return len(servers) // ID
        return sum(self._shard.holds(packing.unpack(servers[at : at + ID])) for at in range(0, len(servers), ID))

    def _cell(self, name: str) -> _Cell:
        if name not in self._cells:
            self._cells[name] = _Cell(self._files)
        return self._cells[name]


def _named(links: bytes) -> Iterator[Named]:
    for start in range(0, min(len(links), _NAMED * _ROW), _ROW):
        attachment_id = links[start : start + ID]
        if attachment_id != NO_ID:
            yield Named(packing.unpack(attachment_id), packing.unpack(links[start + 2 * ID : start + 3 * ID]))


def _server(row: bytes) -> str | None:
    return None if row[_SERVER] == NO_ID else packing.unpack(row[_SERVER])


def _unowned(packed: bytes) -> Finding:
    return ownerless(_attachment(packed))


def _attachment(packed: bytes) -> Attachment:
    return Attachment(
        id=packing.unpack(packed[:ID]),
        server_id=_server(packed),
        volume_id=packing.unpack(packed[_VOLUME]),
        status=packing.STATUSES[packed[_STATUS]],
    )
