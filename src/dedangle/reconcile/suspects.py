# SPDX-License-Identifier: Apache-2.0
"""Judge suspects with rows that were read for many servers: the bulk read of Cinder, and a few statements of Nova.

The function that judges one server judges each of them. If the rows may be too old or incomplete, the server is read
alone. Before every removal the server is read alone again.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from dedangle.core import packing, pairing
from dedangle.core.decisions import Outcome
from dedangle.core.doors import SETTLED_AFTER
from dedangle.core.observations import NovaView
from dedangle.core.records import Attachment, BlockDeviceMapping, Link, Reading, Server, Volume
from dedangle.reconcile import control, side_by_side
from dedangle.reconcile.screen import Gathered
from dedangle.reconcile.server import Judged, Reconciler
from dedangle.systems import ports

# The number of servers in one statement.
_TOGETHER = 500

T = TypeVar("T")


def _by(rows: Iterable[T], key: Callable[[T], str]) -> dict[str, list[T]]:
    found: dict[str, list[T]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found


def _is_packable(ident: str) -> bool:
    """Whether the bulk read keeps the id as it is. Other spellings are equal to it for MySQL, but not here."""
    return packing.unpack(packing.pack(ident)) == ident


@dataclasses.dataclass(frozen=True)
class Suspects:
    """The suspects of one bulk read, which began at `began`; `gathered` has its attachments."""

    nova: ports.Fleet
    bulk: ports.Bulk
    gathered: Gathered
    reconciler: Reconciler
    began: datetime
    at_once: int = 1
    """How many requests are sent to Cinder at the same time."""

    def auditors(self, server_ids: Sequence[str]) -> Iterable[tuple[str, Callable[[str], Judged]]]:
        """Yield each server with the function that judges it; the rows of hundreds are read before the first one."""
        for start in range(0, len(server_ids), _TOGETHER):
            together = server_ids[start : start + _TOGETHER]
            audit = self._read(together)
            yield from ((server_id, audit) for server_id in together)

    def _read(self, server_ids: Sequence[str]) -> Callable[[str], Judged]:
        views = self.nova.observe_many(server_ids)
        mapped = {mapping.volume_id for view in views.values() for mapping in view.mappings}
        held = self.gathered.holdings(server_ids, mapped)
        volume_ids = {*mapped, *(each.volume_id for each in held.of_servers)}
        bdms = self.nova.other_servers_bdms(volume_ids, "")
        volumes = self.bulk.volumes(volume_ids)
        listed = {each.id for each in held.of_servers}
        named = {(server_id, each.attachment_id) for server_id, view in views.items() for each in view.mappings}
        unmapped = [each for each in held.of_servers if (each.server_id, each.id) not in named]
        near = {
            server_id: [each for each in view.mappings if each.attachment_id and each.attachment_id not in listed]
            for server_id, view in views.items()
        }
        links = self.nova.links_of_many({**near, "": ()})
        beside = {link.volume_id for reading in links.values() for link in reading.rows}
        rows = {each.id: each for each in (*held.rows, *self.gathered.holdings((), beside - volume_ids).rows)}
        known = self.nova.knows(unmapped)
        neighbours, known_around = self._neighbours([each.id for each in unmapped if each.id not in known.rows])
        around = _rows_of(neighbours.values())
        archived = self.nova.archived_bdms(unmapped) if unmapped else Reading[BlockDeviceMapping]()
        others = {each.server_id for each in bdms.rows} | {each.server_id or "" for each in held.rows}
        servers = self.nova.servers(others - {""})
        if not all(each.complete for each in (bdms, servers, known, known_around, archived)):
            return self.reconciler.audit
        nova = _Nova(
            nova=self.nova,
            views=views,
            volume_ids=frozenset(volume_ids),
            bdms=_by(bdms.rows, lambda bdm: bdm.volume_id.lower()),
            other_ids=frozenset(others),
            others=_by(servers.rows, lambda server: server.id),
            near=near,
            links_of=links,
            attachments=frozenset({*unmapped, *around}),
            known=frozenset({*known.rows, *known_around.rows}),
            unmapped=frozenset(unmapped),
            archived=_by(archived.rows, lambda bdm: bdm.attachment_id or ""),
        )
        # An attachment may be younger than the bulk read. The control read must not take it for a lost one.
        unlisted = {link.volume_id for each in links.values() for link in each.rows if link.attachment_id not in rows}
        read = set(filter(_is_packable, volume_ids | beside)) - unlisted - held.unsure_volumes
        read = read if self.gathered.is_whole else set()
        cinder = _Cinder(self.reconciler.cinder, tuple(rows.values()), read, volumes.rows, neighbours)
        together = dataclasses.replace(self.reconciler, nova=nova, cinder=cinder)
        unsettled = {server_id for server_id in server_ids if not self._is_settled(views[server_id], nova)}

        def audit(server_id: str) -> Judged:
            by_itself = server_id in unsettled or server_id in held.unsure_servers
            return (self.reconciler if by_itself else together).audit(server_id)

        return audit

    def _neighbours(
        self, attachment_ids: Sequence[str]
    ) -> tuple[dict[tuple[str, int], Reading[ports.Neighbours]], Reading[str]]:
        """Return the neighbours by attachment and number asked for, and which of them Nova knows."""
        found: dict[tuple[str, int], Reading[ports.Neighbours]] = {}
        known: list[str] = []
        for limit in control.NEIGHBOURS:
            answers = self._neighbours_in(attachment_ids, limit)
            found |= {(each, limit): answer for each, answer in answers.items()}
            reading = self.nova.knows(_rows_of(answers.values()))
            if not reading.complete:
                return found, reading
            known += reading.rows
            attachment_ids = [
                each for each, answer in answers.items() if control.is_cut_off(answer, limit, frozenset(reading.rows))
            ]
        return found, Reading(tuple(known))

    def _neighbours_in(self, attachment_ids: Sequence[str], limit: int) -> dict[str, Reading[ports.Neighbours]]:
        known = self.bulk.neighbours_of_many(attachment_ids, limit)
        others = [each for each in attachment_ids if each not in known]
        asked = [functools.partial(self.reconciler.cinder.neighbours, each, limit) for each in others]
        answers = dict(zip(others, side_by_side.answers(asked, self.at_once), strict=True))
        return {**answers, **{each: Reading((near,)) for each, near in known.items()}}

    def _is_settled(self, view: NovaView, nova: _Nova) -> bool:
        """Whether all rows of Nova about the server are two minutes older than the bulk read of Cinder."""
        if view.unread or not _is_packable(view.server_id):
            return False
        own = (*view.mappings, *view.tombstones)
        volume_ids = {each.volume_id for each in own} & nova.volume_ids
        bdms = (*own, *nova.other_servers_bdms(volume_ids, view.server_id).rows)
        moments = [*(each.changed_at for each in bdms), view.last_action_at]
        moments += [moment for server in view.servers for moment in (server.launched_at, server.deleted_at)]
        latest = pairing.newest(moments)
        return latest is None or latest < self.began - SETTLED_AFTER


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Nova:
    """The rows of Nova about hundreds of servers. All other questions go to Nova itself."""

    nova: ports.Fleet
    views: Mapping[str, NovaView]
    volume_ids: frozenset[str]
    bdms: Mapping[str, Collection[BlockDeviceMapping]]
    """By volume id in small letters: the mappings of `volume_ids`."""
    other_ids: frozenset[str]
    others: Mapping[str, Collection[Server]]
    """By id: the servers of `other_ids`."""
    near: Mapping[str, Collection[BlockDeviceMapping]]
    links_of: Mapping[str, Reading[Link]]
    """By server: the answer to the question for `near`."""
    attachments: frozenset[Attachment]
    known: frozenset[str]
    """The ids of those of `attachments` that Nova knows."""
    unmapped: frozenset[Attachment]
    archived: Mapping[str, Collection[BlockDeviceMapping]]
    """By attachment id: the archived mappings of `unmapped`."""

    def read_live(self, server_id: str) -> NovaView:
        return self.views[server_id]

    def observe(self, server_id: str) -> NovaView:
        return self.views[server_id]

    def other_servers_bdms(self, volume_ids: Collection[str], except_server: str) -> Reading[BlockDeviceMapping]:
        if not self.volume_ids.issuperset(volume_ids):
            return self.nova.other_servers_bdms(volume_ids, except_server)
        found = [bdm for each in {volume_id.lower() for volume_id in volume_ids} for bdm in self.bdms.get(each, ())]
        others = [bdm for bdm in found if bdm.server_id.lower() != except_server.lower()]
        return Reading(tuple(sorted(others, key=lambda bdm: (bdm.cell, bdm.id))))

    def servers(self, server_ids: Collection[str]) -> Reading[Server]:
        if not self.other_ids.issuperset(server_ids):
            return self.nova.servers(server_ids)
        return Reading(tuple(server for each in sorted(server_ids) for server in self.others.get(each, ())))

    def knows(self, attachments: Collection[Attachment]) -> Reading[str]:
        if not self.attachments.issuperset(attachments):
            return self.nova.knows(attachments)
        return Reading(tuple(each.id for each in attachments if each.id in self.known))

    def archived_bdms(self, attachments: Collection[Attachment]) -> Reading[BlockDeviceMapping]:
        if not self.unmapped.issuperset(attachments):
            return self.nova.archived_bdms(attachments)
        return Reading(tuple(bdm for each in attachments for bdm in self.archived.get(each.id, ())))

    def compute_hosts(self) -> Reading[str]:
        return self.nova.compute_hosts()

    def links(self, except_server: str, near: Collection[BlockDeviceMapping] = ()) -> Reading[Link]:
        if except_server in self.links_of and {*near} == {*self.near.get(except_server, ())}:
            return self.links_of[except_server]
        return self.nova.links(except_server, near)

    def soft_delete_mapping(self, expected: BlockDeviceMapping, server: Server | None) -> Outcome:
        return self.nova.soft_delete_mapping(expected, server)


class _Cinder:
    """The rows of Cinder's bulk read. An attachment that a mapping names and the bulk read lacks is requested."""

    def __init__(
        self,
        cinder: ports.Cinder,
        rows: Iterable[Attachment],
        volume_ids: Collection[str],
        volumes: Iterable[Volume],
        neighbours: Mapping[tuple[str, int], Reading[ports.Neighbours]],
    ) -> None:
        rows = sorted(rows, key=lambda each: each.id)
        self._cinder, self._volume_ids = cinder, frozenset(volume_ids)
        self._of_servers = _by(rows, lambda each: each.server_id or "")
        self._of_volumes = _by(rows, lambda each: each.volume_id)
        self._volumes = {volume.id: volume for volume in volumes}
        self._neighbours = neighbours
        self._requested: dict[str, Reading[Attachment]] = {}

    @property
    def project_id(self) -> str | None:
        return self._cinder.project_id

    def neighbours(self, attachment_id: str, limit: int) -> Reading[ports.Neighbours]:
        return self._neighbours.get((attachment_id, limit)) or self._cinder.neighbours(attachment_id, limit)

    def sees_other_projects(self) -> Reading[bool]:
        return self._cinder.sees_other_projects()

    def sees_other_attachments(self) -> Reading[bool]:
        return self._cinder.sees_other_attachments()

    def attachments_of_server(self, server_id: str, named: Collection[str]) -> ports.Listing:  # noqa: ARG002
        return ports.Listing(Reading(tuple(self._of_servers.get(server_id, ()))), Reading)

    def attachments_of_volume(self, volume_id: str) -> Reading[Attachment]:
        if volume_id in self._volume_ids:
            return Reading(tuple(self._of_volumes.get(volume_id, ())))
        # After the loss of many attachments the control reads of many servers check the same links.
        found = self._requested.get(volume_id) or self._cinder.attachments_of_volume(volume_id)
        if found.complete:
            self._requested[volume_id] = found
        return found

    def attachment(self, attachment_id: str) -> Reading[Attachment]:
        return self._cinder.attachment(attachment_id)

    def volume(self, volume_id: str) -> Reading[Volume]:
        known = self._volumes.get(volume_id)
        return Reading((known,)) if known else self._cinder.volume(volume_id)

    def volumes_with_status(self, statuses: Collection[str]) -> Reading[Volume]:
        return self._cinder.volumes_with_status(statuses)

    def reset_status(self, expected: Volume) -> Outcome:
        return self._cinder.reset_status(expected)

    def delete_attachment(self, expected: Attachment) -> Outcome:
        return self._cinder.delete_attachment(expected)


def _rows_of(neighbours: Iterable[Reading[ports.Neighbours]]) -> list[Attachment]:
    return [row for reading in neighbours for near in reading.rows for side in near for row in side]
