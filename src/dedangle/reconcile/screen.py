# SPDX-License-Identifier: Apache-2.0
"""The bulk comparison: whom to suspect. Nothing else is decided here."""

from __future__ import annotations

import contextlib
import dataclasses
import struct
from collections import Counter
from collections.abc import Iterable

from dedangle.core import packing, planning
from dedangle.core.decisions import Finding
from dedangle.core.judging import ownerless
from dedangle.core.packing import ID, NO_ID
from dedangle.core.planning import Scope
from dedangle.core.records import Attachment
from dedangle.core.sharding import WHOLE, Shard
from dedangle.reconcile.spool import PARTS, Spool

_SERVER, _VOLUME, _PLACE, _STATUS = slice(ID, 2 * ID), slice(2 * ID, 3 * ID), slice(ID, 3 * ID), 3 * ID
_ROW = _STATUS + 1
_SERVERS = struct.Struct(f"{ID}x{ID}s{_ROW - 2 * ID}x")


@dataclasses.dataclass(frozen=True)
class Screen:
    """What the bulk read tells."""

    suspects: list[str]
    """Servers that may hold a finding, in order."""
    paired: int
    """How many pairs are beyond suspicion."""
    ownerless: list[Finding]
    totals: Counter[Scope]
    """How many attachments there are, for the fuse."""
    every_cell_read: bool = True
    """Whether every cell was read."""
    unheld: frozenset[str] = frozenset()
    """Volumes that are in-use and in no row of either side; known only where the whole cloud was read."""
    shared: dict[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    """By volume: the servers that share it, each by a whole pair; that is right for a multi-attach volume alone."""
    servers: int = 0
    """How many live servers there are."""
    volumes: int = 0
    """How many volumes a live mapping or attachment names."""

    def suspecting_sharers_of(self, volume_ids: Iterable[str]) -> Screen:
        """The same with the servers that share one of the volumes among the suspects."""
        sharers = {server for volume_id in volume_ids for server in self.shared[volume_id]}
        return dataclasses.replace(self, suspects=sorted({*self.suspects, *sharers}))


class _Cell:
    """What one cell holds, all of it kept so that a server's rows come together."""

    def __init__(self, files: contextlib.ExitStack) -> None:
        self.servers = Spool(ID, files)
        self.linked = Spool(ID, files)
        self.links = Spool(_ROW, files, by=2 * ID)
        self.count = 0
        """Of the shard's servers."""


class Gathered:
    """Both sides as they come in, in any order.

    Ids are kept in temporary files, 49 bytes for an attachment and 65 for a mapping, and compared part by part: a part
    of 3,000,000 attachments takes less memory than Nova's modules.
    """

    def __init__(self, shard: Shard = WHOLE) -> None:
        self._shard = shard
        self._files = contextlib.ExitStack()
        self._cells: dict[str, _Cell] = {}
        # A whole pair has the same volume on both sides, so it meets in one part, with the volume.
        self._attachments = Spool(_ROW, self._files, by=2 * ID)
        self._volumes = Spool(ID, self._files)
        self._misspelled: set[str] = set()
        self._every_cell_read = True
        self._shared: dict[bytes, set[bytes]] = {}
        self._unheld: set[bytes] = set()
        self._held = 0
        self.has_links = False

    def __enter__(self) -> Gathered:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def take(self, pages: Iterable[packing.Page]) -> None:
        """Keep the rows; raises NoRoomError."""
        for page in pages:
            if isinstance(page, packing.Servers):
                cell = self._cell(page.cell)
                cell.servers.add(page.rows.packed)
                cell.count += self._count_held(page.rows.packed)
            elif isinstance(page, packing.Links):
                self.has_links = self.has_links or bool(page.rows.packed)
                packed, cell = self._own(page.rows), self._cell(page.cell)
                cell.links.add(packed)
                cell.linked.add(b"".join(server for (server,) in _SERVERS.iter_unpack(packed)))
            elif isinstance(page, packing.Attachments):
                self._attachments.add(self._own(page.rows))
            else:
                self._volumes.add(page.rows.packed)

    def forget(self, cell: str) -> None:
        """Leave out what came of a cell that was not read to its end; all attachments of its servers are odd then."""
        self._cells.pop(cell, None)
        self._every_cell_read = False

    def screen(self) -> Screen:
        """Compare both sides."""
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
            # A fuse that counts in per cent is to count what can be judged, and not to bear more for seeing less.
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

    def _unpaired(self, number: int, attachments: set[bytes]) -> set[bytes]:
        """The mappings and attachments of this part that have no equal, or more than one, or a volume not at rest."""
        links = [each for cell in self._cells.values() for each in cell.links.part(number)]
        linked = set(links)
        unpaired = attachments ^ linked
        if len(links) > len(linked):
            unpaired.update(each for each, times in Counter(links).items() if times > 1)
        volumes = {each[_VOLUME] for each in linked}
        if len(volumes) < len(linked):
            # Several servers may share a volume, and each is to have one mapping of it.
            places = Counter(each[_PLACE] for each in linked)
            unpaired.update(each for each in linked if places[each[_PLACE]] > 1)
            self._note_shared(linked)
        # A part has all rows of its volumes, and what only Cinder holds is unpaired.
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
        """Count the mappings of this part for the fuse, and suspect those of their servers that have no live row.

        Returns how many are beyond suspicion.
        """
        counts: Counter[bytes] = Counter()
        for name, cell in self._cells.items():
            linked = cell.linked.part(number)
            totals["cell", name] += len(linked)
            counts.update(linked)
            suspects.update(set(linked).difference(cell.servers.part(number)))
        return counts.total() - sum(counts[each] for each in suspects & counts.keys())

    def _own(self, rows: packing.Rows) -> bytes:
        """The rows of the shard's servers; each row's server decides, as a whole pair names the same on both sides."""
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


def _server(row: bytes) -> str | None:
    return None if row[_SERVER] == NO_ID else packing.unpack(row[_SERVER])


def _unowned(packed: bytes) -> Finding:
    return ownerless(
        Attachment(
            id=packing.unpack(packed[:ID]),
            server_id=None,
            volume_id=packing.unpack(packed[_VOLUME]),
            status=packing.STATUSES[packed[_STATUS]],
        )
    )
