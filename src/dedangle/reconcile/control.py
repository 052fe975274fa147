# SPDX-License-Identifier: Apache-2.0
"""The control read: check that an attachment is really gone if Cinder does not list it.

Credentials of one project, a Cinder database restored from a backup, or a wrong region make Cinder list no attachments
although there are many. Each of them would look lost.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence

from dedangle.core.observations import NovaView
from dedangle.core.records import Attachment, BlockDeviceMapping, Link, Reading, Refusal
from dedangle.systems import ports

# If this many attachments that different servers created one after the other are all lost, then Cinder has lost them.
# Separate losses in exactly this order are unlikely even in a cloud where one attachment in a hundred is lost.
_BLOCK = 3
# The least number of links to check before their majority counts.
_SAMPLE = 3
# How many neighbours of an attachment to ask for on each side: Cinder runs a query for each one that it returns, so
# more are only asked for if the first ones do not show where the block of unknown attachments ends.
NEIGHBOURS = (4, 20)


@dataclasses.dataclass(frozen=True)
class Trust:
    """The answer of a control read. Without doubt and facts, an attachment that Cinder does not list is gone."""

    doubt: Refusal | None = None
    """Why the credentials, or this Cinder, may not show all attachments."""
    cinder_is_behind: tuple[str, ...] = ()
    """Facts that prove that Cinder has lost attachments that are in use."""


class ControlRead:
    """Checks for attachments that Nova uses for other servers, and reads each attachment and each list only once."""

    def __init__(self, nova: ports.Nova, cinder: ports.Cinder) -> None:
        self._nova = nova
        self._cinder = cinder
        self._seen: dict[str, Reading[bool]] = {}
        self._links: dict[tuple[str, frozenset[int]], Reading[Link]] = {}

    def trust(
        self, before: NovaView | None = None, listed: Collection[Attachment] = (), lost: Collection[str] = ()
    ) -> Trust:
        """Return whether an attachment that Cinder does not list is really gone.

        `before` and `listed` are the answers of Nova and Cinder about the server; `lost` are the attachments that its
        mappings name and Cinder does not have. If nothing is lost, the list has an attachment that Nova names, and the
        server belongs to another project than the credentials, that is the proof and no other read is needed.
        """
        project_id = self._cinder.project_id
        if project_id is None:
            return Trust(
                Refusal("the project of the credentials is not known, so nothing proves that they see other projects")
            )
        is_shown = before is not None and _is_shown(before, listed, project_id)
        if is_shown and not lost:
            return Trust()
        gone = [mapping for mapping in before.mappings if mapping.attachment_id in lost] if before else []
        links = self._links_beside(before.server_id if before else "", gone)
        if not links.complete and not links.rows:
            return Trust(Refusal(f"no control read was possible: {links.why}"))
        try:
            behind = tuple(self._blocks(gone, links)) or tuple(self._majority(links.rows) if gone else ())
            return (
                Trust(cinder_is_behind=behind) if behind or is_shown else self._doubt(links, project_id, before, listed)
            )
        except _UnreadError as error:
            return Trust(Refusal(f"the control read failed: {error}"))

    def _links_beside(self, server_id: str, gone: Collection[BlockDeviceMapping]) -> Reading[Link]:
        key = server_id, frozenset(mapping.id for mapping in gone)
        if key not in self._links:
            self._links[key] = self._nova.links(server_id, gone)
        return self._links[key]

    def nova_is_behind(self, unmapped: Collection[Attachment]) -> tuple[str, ...]:
        """Return facts that prove that Nova has lost mappings that are in use, or why that cannot be known.

        A Nova database restored from a backup does not know any attachment that was created after the backup, and
        these are neighbours in Cinder. Attachments that were never connected prove nothing, because every failed
        attach may leave one.
        """
        known = self._nova.knows(unmapped)
        unknown = [attachment for attachment in unmapped if attachment.id not in known.rows] if known.complete else []
        return tuple(fact for each in unknown for fact in self._unknown_block(each))

    def _unknown_block(self, attachment: Attachment) -> Iterator[str]:
        sides: Sequence[Sequence[Attachment]] = ()
        known: Reading[str] = Reading()
        unread = ""
        for limit in NEIGHBOURS:
            found = self._cinder.neighbours(attachment.id, limit)
            near = [side for each in found.rows for side in (each.younger, each.older)]
            answer = self._nova.knows([each for side in near for each in side])
            if not (found.complete and answer.complete):
                # What the first ones showed still counts.
                unread = found.why or answer.why
                break
            sides, known = near, answer
            if not is_cut_off(found, limit, known.rows):
                break
        unknown: dict[str, str] = {}
        for side in sides:
            connected = filter(_is_connected, side)
            for each in itertools.takewhile(lambda each: each.id not in known.rows, connected):
                if each.server_id and each.server_id != attachment.server_id:
                    unknown.setdefault(each.server_id, each.id)
        if len(unknown) >= _BLOCK - 1:
            others = ", ".join(f"{ident} of server {server_id}" for server_id, ident in list(unknown.items())[:_BLOCK])
            yield (
                f"Nova does not know attachment {attachment.id}, nor those that Cinder created right before and after "
                f"it: {others}. Nova's database may have been restored from a backup"
            )
        elif unread:
            yield (
                "It is not known whether Nova's database was restored from a backup: the attachments that Cinder "
                f"created right before and after {attachment.id} could not be looked up ({unread})"
            )

    def _blocks(self, gone: Iterable[BlockDeviceMapping], links: Reading[Link]) -> Iterator[str]:
        """Yield a fact for each lost attachment in a block of lost ones, in the order in which Nova made the mappings.

        A database restored from a backup lacks everything that was created after it, so the lost ones are neighbours.
        """
        for mapping in gone:
            near = [link for link in links.rows if link.cell == mapping.cell]
            if not near and not links.complete:
                raise _UnreadError(links.why)
            younger = sorted((link for link in near if link.number > mapping.id), key=lambda each: each.number)
            older = sorted((link for link in near if link.number < mapping.id), key=lambda each: -each.number)
            lost: dict[str, Link] = {}
            for side in (younger, older):
                for link in side:
                    if len(lost) >= _BLOCK - 1 or self._is_there(link):
                        break
                    lost.setdefault(link.server_id, link)
            if len(lost) >= _BLOCK - 1:
                others = ", ".join(f"{each.attachment_id} of server {each.server_id}" for each in lost.values())
                yield (
                    f"Cinder has lost attachment {mapping.attachment_id}, and those of the mappings that Nova created "
                    f"right before and after it: {others}. Cinder's database may have been restored from a backup"
                )

    def _majority(self, links: Collection[Link]) -> Iterator[str]:
        """Yield a fact if most of the newest links are lost."""
        lost = there = 0
        for link in sorted(links, key=lambda each: -each.number):
            if self._is_there(link):
                there += 1
            else:
                lost += 1
            if there >= _SAMPLE and there >= lost:
                return
        if lost > there and lost + there >= _SAMPLE:
            yield (
                f"Cinder does not have {lost} of {lost + there} checked attachments that Nova uses for other servers. "
                "Cinder's database may have been restored from a backup"
            )

    def _doubt(
        self, links: Reading[Link], project_id: str, before: NovaView | None, listed: Collection[Attachment]
    ) -> Trust:
        foreign = [link for link in links.rows if link.project_id != project_id]
        if any(map(self._is_there, foreign)):
            return Trust()
        if foreign and self._has_lost_all(foreign):
            return Trust(
                cinder_is_behind=(
                    f"Cinder has the volumes, but none of {len(foreign)} checked attachments that Nova uses for other "
                    "servers. Cinder's database may have been restored from a backup",
                )
            )
        if foreign:
            return Trust(
                Refusal(
                    f"Cinder shows none of {len(foreign)} checked attachments that Nova uses for other servers. The "
                    "credentials may not see every project, or this is not the Cinder that Nova uses"
                )
            )
        return Trust(self._doubt_without_links(links, project_id, before, listed))

    def _has_lost_all(self, foreign: Collection[Link]) -> bool:
        """Whether the attachments are gone: it is the right Cinder, and the credentials see other projects."""
        has_volumes = any(self._has_volume(link.volume_id) for link in foreign)
        return has_volumes and any(self._cinder.sees_other_attachments().rows)

    def _doubt_without_links(
        self, links: Reading[Link], project_id: str, before: NovaView | None, listed: Collection[Attachment]
    ) -> Refusal | None:
        """Return the doubt if Nova uses no attachment of another project, for example with a single server."""
        servers, mappings = (before.servers, before.mappings) if before else ((), ())
        if {server.project_id for server in servers} - {project_id}:
            others = self._cinder.sees_other_projects()
            if not others.complete:
                return Refusal(f"the control read failed: {others.why}")
            if not any(others.rows):
                return Refusal(
                    "Cinder shows no volume of another project, so nothing proves that the credentials see all projects"
                )
        ids = {attachment.id for attachment in listed}
        is_novas = any(mapping.attachment_id in ids for mapping in mappings)
        if (
            is_novas
            or any(map(self._is_there, links.rows))
            or any(self._has_volume(mapping.volume_id) for mapping in mappings)
        ):
            return None
        return Refusal(
            "Cinder shows no attachment and no volume that Nova uses, so it may not be the Cinder that Nova uses"
        )

    def _is_there(self, link: Link) -> bool:
        """Whether Cinder shows the attachment of the link; raise _UnreadError if Cinder does not answer."""
        if link.attachment_id not in self._seen:
            found = self._cinder.attachments_of_volume(link.volume_id)
            there = any(each.id == link.attachment_id for each in found.rows)
            self._seen[link.attachment_id] = Reading((there,), found.complete, found.why)
        return _answer(self._seen[link.attachment_id])

    def _has_volume(self, volume_id: str) -> bool:
        found = self._cinder.volume(volume_id)
        return _answer(Reading((bool(found.rows),), found.complete, found.why))


class _UnreadError(Exception):
    """Cinder, or the cell of a mapping, did not answer. The message says why."""


def _answer(reading: Reading[bool]) -> bool:
    if not reading.complete:
        raise _UnreadError(reading.why)
    return any(reading.rows)


def is_cut_off(found: Reading[ports.Neighbours], limit: int, known: Collection[str]) -> bool:
    """Whether more neighbours must be asked for, because a side has `limit` rows and Nova knows no connected one."""

    def ends(side: Sequence[Attachment]) -> bool:
        return len(side) < limit or any(_is_connected(each) and each.id in known for each in side)

    return not all(ends(side) for near in found.rows for side in near)


def _is_connected(attachment: Attachment) -> bool:
    return attachment.status == "attached" and bool(attachment.server_id)


def _is_shown(before: NovaView, listed: Collection[Attachment], project_id: str) -> bool:
    """Whether the server's own list proves that the credentials see another project."""
    ids = {attachment.id for attachment in listed}
    named = any(mapping.attachment_id in ids for mapping in before.mappings)
    return named and bool({server.project_id for server in before.servers} - {project_id})
