# SPDX-License-Identifier: Apache-2.0
"""The control read: whether Cinder's word of absence can be believed at all.

A token that sees one project, a Cinder database that came back from a backup or a wrong region lists no attachments
where there are many, and each would look like one that was lost.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterable, Iterator

from dedangle.core.observations import NovaView
from dedangle.core.records import Attachment, BlockDeviceMapping, Link, Reading, Refusal
from dedangle.systems import ports

# A block of so many lost attachments, made one after the other by different servers, is Cinder's loss: the odds that
# servers lose theirs one by one in just that order are small even in a cloud where one in a hundred is lost.
_BLOCK = 3
# Links to look for before their majority counts.
_SAMPLE = 3


@dataclasses.dataclass(frozen=True)
class Trust:
    """The answer of a control read; without doubt and facts: Cinder's word of absence is believed."""

    doubt: Refusal | None = None
    """Why the credentials, or this Cinder, may not show what there is."""
    cinder_is_behind: tuple[str, ...] = ()
    """Facts that show that Cinder has lost attachments which are in use."""


class ControlRead:
    """Looks for attachments that Nova uses for other servers; each is asked for once."""

    def __init__(self, nova: ports.Nova, cinder: ports.Cinder) -> None:
        self._nova = nova
        self._cinder = cinder
        self._seen: dict[str, Reading[bool]] = {}

    def trust(
        self, before: NovaView | None = None, listed: Collection[Attachment] = (), lost: Collection[str] = ()
    ) -> Trust:
        """Tell whether absence can be believed.

        before and listed are what Nova and Cinder said of the server in question, and lost the attachments that its
        mappings name and Cinder answered not to have. Where nothing is lost and the server's own list shows what Nova
        names, and the server is not of the token's project, that is the proof, at no cost.
        """
        project_id = self._cinder.project_id
        if project_id is None:
            return Trust(
                Refusal("the project of the credentials is not known, so nothing proves that they see the others")
            )
        is_shown = before is not None and _is_shown(before, listed, project_id)
        if is_shown and not lost:
            return Trust()
        gone = [mapping for mapping in before.mappings if mapping.attachment_id in lost] if before else []
        links = self._nova.links(before.server_id if before else "", gone)
        if not links.complete and not links.rows:
            return Trust(Refusal(f"no control read was possible: {links.why}"))
        try:
            behind = tuple(self._blocks(gone, links.rows)) or tuple(self._majority(links.rows) if gone else ())
            return (
                Trust(cinder_is_behind=behind) if behind or is_shown else self._doubt(links, project_id, before, listed)
            )
        except _UnreadError as error:
            return Trust(Refusal(f"the control read failed: {error}"))

    def nova_is_behind(self, unmapped: Collection[Attachment]) -> tuple[str, ...]:
        """Facts that show that Nova has lost mappings which are in use; none where that cannot be told.

        A Nova database that came back from a backup knows none of the attachments that were made after it, and those
        stand side by side in Cinder. Attachments that nothing was connected through say nothing: each attach that
        fails may leave one.
        """
        known = self._nova.knows(unmapped)
        unknown = [attachment for attachment in unmapped if attachment.id not in known.rows] if known.complete else []
        return tuple(fact for each in unknown for fact in self._unknown_block(each))

    def _unknown_block(self, attachment: Attachment) -> Iterator[str]:
        sides = [
            [each for each in side if each.status == "attached" and each.server_id]
            for near in self._cinder.neighbours(attachment.id).rows
            for side in (near.younger, near.older)
        ]
        known = self._nova.knows([each for side in sides for each in side])
        if not known.complete:
            return
        unknown: dict[str, str] = {}
        for side in sides:
            for each in itertools.takewhile(lambda each: each.id not in known.rows, side):
                if each.server_id and each.server_id != attachment.server_id:
                    unknown.setdefault(each.server_id, each.id)
        if len(unknown) >= _BLOCK - 1:
            others = ", ".join(f"{ident} of server {server_id}" for server_id, ident in list(unknown.items())[:_BLOCK])
            yield (
                f"Nova knows neither attachment {attachment.id} nor those that Cinder made right before and after it: "
                f"{others}. Nova's database may have come back from a backup"
            )

    def _blocks(self, gone: Iterable[BlockDeviceMapping], links: Collection[Link]) -> Iterator[str]:
        """Each lost attachment that stands in a block of them, by the order in which Nova made the mappings.

        A database that came back from a backup lacks all that was made after it: those stand side by side.
        """
        for mapping in gone:
            near = [link for link in links if link.cell == mapping.cell]
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
                    f"Cinder has lost attachment {mapping.attachment_id}, and those of the mappings that Nova made "
                    f"right before and after it: {others}. Cinder's database may have come back from a backup"
                )

    def _majority(self, links: Collection[Link]) -> Iterator[str]:
        """That most of the youngest links are lost, as long as they are."""
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
                f"Cinder lacks {lost} of {lost + there} attachments looked for that Nova uses for other servers. "
                "Cinder's database may have come back from a backup"
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
                    f"Cinder has the volumes, but none of the {len(foreign)} attachments looked for that Nova uses for "
                    "other servers. Cinder's database may have come back from a backup",
                )
            )
        if foreign:
            return Trust(
                Refusal(
                    f"Cinder shows none of the {len(foreign)} attachments looked for that Nova uses for other servers: "
                    "the credentials may not see every project, or this is not the Cinder that Nova uses"
                )
            )
        return Trust(self._doubt_without_links(links, project_id, before, listed))

    def _has_lost_all(self, foreign: Collection[Link]) -> bool:
        """Whether it is the right Cinder, and the credentials see other projects: then the attachments are gone."""
        has_volumes = any(self._has_volume(link.volume_id) for link in foreign)
        return has_volumes and any(self._cinder.sees_other_attachments().rows)

    def _doubt_without_links(
        self, links: Reading[Link], project_id: str, before: NovaView | None, listed: Collection[Attachment]
    ) -> Refusal | None:
        """The same where Nova uses no attachment of another project: a host may have one server alone."""
        servers, mappings = (before.servers, before.mappings) if before else ((), ())
        if {server.project_id for server in servers} - {project_id}:
            others = self._cinder.sees_other_projects()
            if not others.complete:
                return Refusal(f"the control read failed: {others.why}")
            if not any(others.rows):
                return Refusal(
                    "Cinder shows no volume of another project, so nothing proves that the credentials see every one"
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
        """Whether Cinder shows the link's attachment; raises _UnreadError."""
        if link.attachment_id not in self._seen:
            found = self._cinder.attachments_of_volume(link.volume_id)
            there = any(each.id == link.attachment_id for each in found.rows)
            self._seen[link.attachment_id] = Reading((there,), found.complete, found.why)
        return _answer(self._seen[link.attachment_id])

    def _has_volume(self, volume_id: str) -> bool:
        found = self._cinder.volume(volume_id)
        return _answer(Reading((bool(found.rows),), found.complete, found.why))


class _UnreadError(Exception):
    """Cinder did not answer; the message says why."""


def _answer(reading: Reading[bool]) -> bool:
    if not reading.complete:
        raise _UnreadError(reading.why)
    return any(reading.rows)


def _is_shown(before: NovaView, listed: Collection[Attachment], project_id: str) -> bool:
    """Whether the server's own list proves that the credentials see another project."""
    ids = {attachment.id for attachment in listed}
    named = any(mapping.attachment_id in ids for mapping in before.mappings)
    return named and bool({server.project_id for server in before.servers} - {project_id})
