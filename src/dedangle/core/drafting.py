# SPDX-License-Identifier: Apache-2.0
"""The verdict on one row, and how it becomes a finding with a sentence, evidence and a disposition."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import datetime

from dedangle.core.case import Case, Policy
from dedangle.core.decisions import Disposition, Finding, FindingKey, HostSide, Remedy, Verdict
from dedangle.core.doors import SETTLED_AFTER, dispose
from dedangle.core.evidence import facts, why_kept
from dedangle.core.findings import KINDS
from dedangle.core.pair import Pair
from dedangle.core.pairing import newest
from dedangle.core.records import Attachment, BlockDeviceMapping, Existence, Refusal, Server, Volume
from dedangle.core.times import utc


@dataclasses.dataclass(frozen=True)
class Draft:
    """The verdict on one row, before the rules of the door are applied."""

    verdict: Verdict
    code: str = ""
    mapping: BlockDeviceMapping | None = None
    attachment: Attachment | None = None
    kept_because: Refusal | None = None
    """Why the remedy must not be carried out whatever the door."""
    not_before: datetime | None = None
    """Before this time the operation that created the rows may still be in progress."""
    acts_as: str = ""
    """The code whose remedy and needs apply, if not its own."""
    guest_may_live: bool = False
    """Whether it is a connected attachment of a deleted server, so that its guest must be proved to have ended."""
    no_remedy: bool = False
    """Whether this state has no remedy, although its code has one."""
    proved: bool = False
    """Whether every host concerned proved that the server's guest there does not have the disk."""
    explained_on: str | None = None
    """The host on which the guest has the disk through another, valid attachment."""
    is_urgent: bool = False
    """Whether two servers may write to the volume now."""
    cinder_is_wrong: bool = False
    """Whether Cinder has lost attachments that are in use."""


def finding_of(
    draft: Draft, pair: Pair, now: datetime, policy: Policy, first_seen: Callable[[FindingKey], datetime | None]
) -> Finding:
    """Return the finding of a draft with the door's ruling; first_seen looks a key up in earlier runs."""
    server_state, mapping, attachment = pair.server_state, draft.mapping, draft.attachment
    server, volume = server_state.server, next(iter(pair.volume.rows), None)
    finding = Finding(
        code=draft.code or draft.verdict.value,
        verdict=draft.verdict,
        remedy=Remedy.NONE,
        disposition=Disposition.REPORT,
        server_id=server_state.server_id,
        volume_id=pair.volume_id,
        attachment_id=(mapping and mapping.attachment_id) or (attachment.id if attachment else None),
        bdm_uuid=mapping.uuid if mapping else None,
        cell=mapping.cell if mapping else server.cell if server else None,
        host=server.host if server else None,
        project_id=server.project_id if server else None,
        evidence=tuple(facts(pair, mapping, attachment)),
        mapping=mapping,
        attachment=attachment,
        is_urgent=draft.is_urgent,
        server_name=server.name if server else None,
        vm_state=server.vm_state if server else None,
        volume_name=volume.name if volume else None,
        volume_size=volume.size if volume else None,
        host_side=_host_side(pair),
    )
    # If a clock was ahead and is set back, the stored time is in the future; the finding must not wait for it.
    finding = dataclasses.replace(finding, first_seen=min(first_seen(finding.key) or now, now))
    stuck_at = _stuck_at(finding, pair, policy) if finding.code == "transition-stuck" else None
    is_young = stuck_at is not None and now < stuck_at
    if is_young:
        finding = dataclasses.replace(
            finding, code=Verdict.IN_FLIGHT.value, verdict=Verdict.IN_FLIGHT, sighted_as=finding.key
        )
    kind = KINDS.get(finding.code)
    if kind is None:
        kept = Disposition.WAIT if finding.verdict is Verdict.IN_FLIGHT else Disposition.PROTECT
        why = why_kept(finding, pair)
        if stuck_at and is_young:
            why += f" It counts as stopped half-way if it has not ended by {utc(stuck_at)}: look again then."
        return dataclasses.replace(finding, disposition=kept, sentence=why)
    acting = KINDS[draft.acts_as or kind.code]
    finding = dataclasses.replace(finding, remedy=Remedy.NONE if draft.no_remedy else acting.remedy)
    finding = dataclasses.replace(finding, held_on=_held_on(finding, volume, server))
    words = _words(pair, finding)
    sentence = ("URGENT: " if draft.is_urgent else "") + kind.sentence.format(**words)
    ruling = dispose(
        Case(
            finding=finding,
            server_state=server_state,
            policy=policy,
            kind_needs=acting.needs(policy.door),
            now=now,
            advice=kind.advice.format(**words),
            kept_because=draft.kept_because,
            open_work=pair.open_work,
            not_before=draft.not_before,
            changed_at=_changed_at(pair, attachment),
            age_is_unknown=_age_is_unknown(pair, attachment),
            guest_may_live=draft.guest_may_live,
            proved=draft.proved,
            explained_on=draft.explained_on,
            image_is_open=_image_is_open(pair, attachment),
            cinder_is_wrong=draft.cinder_is_wrong,
        )
    )
    advice = ruling.sentence
    if kind.alternative and ruling.disposition in (Disposition.REMOVE, Disposition.REPORT):
        advice = f"{advice} {kind.alternative}".lstrip()
    return dataclasses.replace(
        finding,
        disposition=ruling.disposition,
        sentence=sentence,
        advice=advice,
        next=ruling.next,
    )


def _held_on(finding: Finding, volume: Volume | None, server: Server | None) -> str | None:
    """Return the host that has to disconnect the attachment before it goes, where the server is on another one."""
    if finding.remedy is not Remedy.REMOVE_ATTACHMENT or not (finding.attachment and volume and server):
        return None
    host = volume.host_of(finding.attachment.id)
    return host if server.host is not None and host != server.host else None


def _image_is_open(pair: Pair, attachment: Attachment | None) -> Refusal | None:
    """Return why a Ceph client may use the volume by this row: no other attachment of the volume explains it."""
    if pair.watchers is None:
        return None
    if not pair.watchers.complete:
        return Refusal(f"whether a client has the RBD image open is unknown, because {pair.watchers.why}")
    others = [each for each in (*pair.attachments, *pair.others.rows) if each != attachment]
    explained = sum(each.status == "attached" for each in others)
    if len(pair.watchers.rows) <= explained:
        return None
    return Refusal(f"a client of Ceph has the RBD image open ({', '.join(sorted(pair.watchers.rows))})")


def _host_side(pair: Pair) -> tuple[HostSide, ...] | None:
    """Return the disks of the volume in the server's guest, from the hosts that answered."""
    answered = {host: reading for host, reading in sorted(pair.server_state.guests.items()) if reading.complete}
    disks = ((host, disk) for host, reading in answered.items() for disk in reading.rows)
    return (
        tuple(HostSide.of(host, disk) for host, disk in disks if disk.volume_id == pair.volume_id) if answered else None
    )


def _words(pair: Pair, finding: Finding) -> dict[str, str]:
    """Return the values of the placeholders of Kind.sentence and Kind.advice."""
    return {
        "server": finding.server_id,
        "volume": finding.volume_id,
        "attachment": finding.attachment_id or "none",
        "other": pair.other_holder or "none",
        "beside": finding.attachment.id if finding.attachment else "none",
        "statuses": _statuses(pair, finding),
        "work": "; ".join(f"{each}, since {utc(each.since)}" for each in pair.reported_work if each.since),
    }


def _stuck_at(finding: Finding, pair: Pair, policy: Policy) -> datetime | None:
    """Return when an attach or detach counts as stopped half-way.

    They set no task_state: only the age tells one in progress from one that stopped, even without a grace period. A
    status that is set by hand takes effect at once.
    """
    moments = (each.updated_at for each in pair.volume.rows)
    changed_at = newest((_changed_at(pair, finding.attachment), *moments))
    first_seen = finding.first_seen
    return newest((first_seen and first_seen + policy.grace, changed_at and changed_at + SETTLED_AFTER))


def _statuses(pair: Pair, finding: Finding) -> str:
    volume = "; ".join(f"the volume is {each.status}" for each in pair.volume.rows) or "the volume was not read"
    if finding.attachment_id is None:
        return f"{volume}, and its mapping names no attachment"
    own = [each.status for each in pair.attachments if each.id == finding.attachment_id]
    has = f"is {own[0]}" if own else "is missing in Cinder"
    return f"{volume}, and attachment {finding.attachment_id} {has}"


def _changed_at(pair: Pair, attachment: Attachment | None) -> datetime | None:
    """Return when the newest row of the pair changed, None if no row has such a time."""
    moments = [mapping.changed_at for mapping in (*pair.mappings, *pair.tombstones)]
    if attachment and attachment.attached_at:
        moments.append(attachment.attached_at)
    return newest(moments)


def _age_is_unknown(pair: Pair, attachment: Attachment | None) -> bool:
    """Whether the age of Cinder's row is unknown and Nova may just have created it, for a live server.

    An attachment that a tombstone names is not new.
    """
    if attachment is None or pair.server_state.existence is not Existence.LIVE:
        return False
    return attachment.attached_at is None and all(
        tombstone.attachment_id != attachment.id for tombstone in pair.tombstones
    )
