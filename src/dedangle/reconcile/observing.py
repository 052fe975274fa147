# SPDX-License-Identifier: Apache-2.0
"""One observation of one server: Nova, then Cinder, then the hosts, then Nova again."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection
from typing import Any

from dedangle.core import pairing
from dedangle.core.observations import CinderView, NovaView, Observation
from dedangle.core.records import Attachment, HostState, Reading
from dedangle.reconcile import side_by_side
from dedangle.reconcile.control import ControlRead
from dedangle.reconcile.images import Images
from dedangle.systems import ports

# The number of times that a list may have grown while it was read to its end.
_ADDITIONS = 3


@dataclasses.dataclass(frozen=True)
class Observer:
    """Reads what the judgement of a server needs."""

    nova: ports.Nova
    cinder: ports.Cinder
    hosts: ports.Hosts
    images: Images | None
    is_journalled: Callable[[str], bool]
    thorough: bool
    """Whether every volume is read, even if all mappings and attachments pair."""
    at_once: int
    """How many requests are sent to Cinder at the same time."""

    def observe(self, server_id: str) -> Observation:
        """Read the server once.

        Each attachment that a mapping names and Cinder's list lacks is requested by its id after all other requests.
        So Cinder reports its absence twice: before and after everything else that decides was read.
        """
        before = self.nova.read_live(server_id)
        named = {mapping.attachment_id for mapping in before.mappings if mapping.attachment_id}
        listing = self.cinder.attachments_of_server(server_id, named)
        if not listing.first.complete:
            cinder = CinderView(attachments=listing.first)
            return Observation(server_id=server_id, before=before, cinder=cinder, after=before)
        control = ControlRead(self.nova, self.cinder)
        cinder = self._cinder(before, listing, control)
        if not cinder.volumes:
            # If everything pairs, no second read is needed: a healthy server costs one request to Nova and to Cinder.
            after = before if before.complete else self.nova.observe(server_id)
            return Observation(server_id=server_id, before=before, cinder=cinder, after=after)
        attachments = cinder.attachments
        lost = [ident for ident, reading in cinder.named.items() if reading.absent]
        trust = control.trust(before, attachments.rows, lost)
        detailed = self._with_details(before, cinder)
        cinder = dataclasses.replace(cinder, attachments=Reading(detailed, not trust.doubt, str(trust.doubt or "")))
        if pairing.names_other_hosts(before, cinder):
            cinder = pairing.with_comparable_hosts(before, cinder, self.nova.compute_hosts())
        # The guest is read before Nova is read again, because an attach writes its mapping before the disk.
        guests = {host: self.hosts.disks(server_id, host) for host in pairing.hosts_concerned(before, cinder)}
        watchers = self.images.watchers(before, cinder) if self.images else {}
        other_servers_bdms = self.nova.other_servers_bdms(cinder.volumes.keys(), server_id)
        after = self._with_archived(self.nova.observe(server_id), attachments.rows)
        return Observation(
            server_id=server_id,
            before=before,
            cinder=cinder,
            after=after,
            is_journalled=not after.servers and self.is_journalled(server_id),
            other_servers_bdms=other_servers_bdms,
            other_servers=self.nova.servers(pairing.other_holders(server_id, cinder, other_servers_bdms)),
            guests=guests,
            askable_hosts=frozenset(filter(self.hosts.may_answer, guests)),
            watchers=watchers,
            host_acts=self._acts_itself(before),
            cinder_is_behind=trust.cinder_is_behind,
            nova_is_behind=control.nova_is_behind(
                [attachment for attachment in attachments.rows if attachment.id not in named]
            ),
        )

    def _cinder(self, before: NovaView, listing: ports.Listing, control: ControlRead) -> CinderView:
        """Read from Cinder what does not pair; again if the rest of its list has more rows."""
        attachments = listing.first
        for _ in range(_ADDITIONS):
            volume_ids, attachment_ids = pairing.needed_of_cinder(before, attachments.rows, thorough=self.thorough)
            if not volume_ids:
                return CinderView(attachments=attachments)
            ids, lost = sorted(volume_ids), sorted(attachment_ids)
            asking: list[Callable[[], Any]] = [functools.partial(self.cinder.volume, each) for each in ids]
            asking += [functools.partial(self.cinder.attachments_of_volume, each) for each in ids]
            if self.at_once > 1:
                # The control read sends one request after the other, so it starts first. Its answers are kept, and the
                # control read after the list is complete does not repeat them.
                asking.insert(0, functools.partial(control.trust, before, attachments.rows, lost))
            of_both = side_by_side.answers(asking, self.at_once)[-2 * len(ids) :]
            asked: list[Callable[[], Reading[Attachment]]] = [listing.rest]
            asked += [functools.partial(self.cinder.attachment, each) for each in lost]
            more, *found = side_by_side.answers(asked, self.at_once)
            if not more.complete:
                return CinderView(attachments=more)
            if not more.rows:
                return CinderView(
                    attachments=attachments,
                    named=dict(zip(lost, found, strict=True)),
                    volumes=dict(zip(ids, of_both[: len(ids)], strict=True)),
                    of_volumes=dict(zip(ids, of_both[len(ids) :], strict=True)),
                )
            attachments = Reading((*attachments.rows, *more.rows))
        return CinderView(attachments=Reading.unread("Cinder's list of attachments grew faster than it could be read"))

    def _with_archived(self, nova: NovaView, attachments: Collection[Attachment]) -> NovaView:
        """Return the view with the archived mappings of connected attachments that no other row of Nova explains."""
        named = {each.attachment_id for each in (*nova.mappings, *nova.tombstones)}
        unexplained = [each for each in attachments if each.id not in named and not each.is_reserved]
        if not unexplained or not any(not server.deleted for server in nova.servers):
            return nova
        archived = self.nova.archived_bdms(unexplained).rows
        own = (each for each in archived if each.server_id == nova.server_id)
        return dataclasses.replace(nova, tombstones=(*nova.tombstones, *own))

    def _with_details(self, nova: NovaView, cinder: CinderView) -> tuple[Attachment, ...]:
        """Return the attachments; where their list leaves a doubt about a host, with the fields that the list lacks.

        An attachment whose details are not read stays as it is listed, so its connection stays unknown.
        """
        attachments = cinder.attachments.rows
        shown = [volume for reading in cinder.volumes.values() for volume in reading.rows]
        asked = [self.cinder.attachment(each) for each in pairing.in_doubt(nova, attachments, shown)]
        detailed = {row.id: row for reading in asked for row in reading.rows}
        return tuple(detailed.get(each.id, each) for each in attachments)

    def _acts_itself(self, nova: NovaView) -> bool:
        # A host that is down would only cost a timeout, and its servers count as in flight anyway.
        hosts = {server.host for server in nova.servers if server.host and not server.deleted}
        return nova.host_state is not HostState.DOWN and any(map(self.hosts.acts, hosts))
