# SPDX-License-Identifier: Apache-2.0
"""Judge what a pair is, and what a door may do about it. Only this file and core/lost.py call anything dangling.

The file is long because the order of its questions is the rule. To check a verdict, read the file from the top.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from datetime import datetime

from dedangle.core.case import Policy
from dedangle.core.decisions import Disposition, Door, Finding, FindingKey, Remedy, Verdict
from dedangle.core.drafting import Draft, finding_of
from dedangle.core.duplicates import are_duplicates, duplicated
from dedangle.core.lost import WasInUse, lost_mapping
from dedangle.core.pair import Pair
from dedangle.core.records import Attachment, BlockDeviceMapping, Existence, Refusal, Volume
from dedangle.core.sharing import connected_beside, is_named_by_other_server, is_root, may_share_host
from dedangle.core.work import SETTLED, never_ends

# The mapping of these findings can be changed to name another attachment.
_RELINKABLE = (
    *("mapping-names-lost-attachment", "mapping-names-reservation"),
    *("migration-half-done", "attach-half-made"),
)
_SHARES_HOST = Refusal("another attachment of the volume may be connected through the same host")


def judge(
    pair: Pair, *, now: datetime, policy: Policy, first_seen: Callable[[FindingKey], datetime | None]
) -> tuple[Finding, ...]:
    """Return a finding for every mapping and attachment of the pair, or one for several that it explains.

    A finding that is listed has a code of findings.KINDS; the code of any other finding is its verdict. Never raises
    for any pair.
    """

    def was_in_use(mapping: BlockDeviceMapping) -> bool:
        # Several lost attachments together prove that Cinder is wrong. When most are restored, the last ones no longer
        # prove it, so the earlier sighting decides.
        names = (pair.server_state.server_id, pair.volume_id, mapping.attachment_id, mapping.uuid, mapping.version)
        return first_seen(FindingKey("attachment-lost-in-use", *names)) is not None

    is_living = pair.server_state.existence is Existence.LIVE
    lost_host = _lost_host(pair, policy) if is_living else None
    drafts = (_kept(each, lost_host) if lost_host else each for each in _drafts(pair, policy, now, was_in_use))
    return tuple(finding_of(_as_far_as_seen(draft, pair), pair, now, policy, first_seen) for draft in drafts)


def ownerless(attachment: Attachment) -> Finding:
    """Return the finding of an attachment without a server: it belongs to another client, such as the Glance store."""
    return Finding(
        code=Verdict.FOREIGN.value,
        verdict=Verdict.FOREIGN,
        remedy=Remedy.NONE,
        disposition=Disposition.PROTECT,
        server_id="",
        volume_id=attachment.volume_id,
        attachment_id=attachment.id,
        attachment=attachment,
        sentence=f"Attachment {attachment.id} of volume {attachment.volume_id} names no server, so it is not Nova's.",
        evidence=(f"Cinder: attachment {attachment.id} is {attachment.status} and has no instance_uuid",),
    )


def _drafts(pair: Pair, policy: Policy, now: datetime, was_in_use: WasInUse) -> Iterator[Draft]:
    """Yield drafts in this order of questions: is all read, is it foreign, is it in flight, which state is it."""
    server_state = pair.server_state
    volume = next(iter(pair.volume.rows), None)
    if server_state.unread:
        yield from _all(pair, Verdict.CANNOT_TELL)
    elif server_state.existence is Existence.UNKNOWN and not _is_vouched_for(volume, policy):
        for mapping in pair.mappings:
            yield Draft(
                Verdict.FOREIGN,
                "mapping-of-deleted-server",
                mapping=mapping,
                kept_because=Refusal("Nova has no record of the server, not even of its deletion"),
            )
        for attachment in pair.attachments:
            yield Draft(Verdict.FOREIGN, "attachment-unknown-owner", attachment=attachment)
    elif not pair.mappings and volume and volume.consumer:
        # Ironic's volume targets have the UUID of a Nova server but no mapping. Only the metadata shows the owner.
        yield from _all(pair, Verdict.FOREIGN)
    elif _obstructing(pair, policy, now):
        yield from _in_flight(pair, volume, now)
    elif server_state.hosts_with_disk(pair.volume_id) and pair.other_writers and not (volume and volume.multiattach):
        yield from _all(pair, Verdict.MISMATCH, "volume-in-use-elsewhere", is_urgent=True)
    elif server_state.existence in (Existence.DELETED, Existence.UNKNOWN):
        yield from _of_deleted(pair, volume, policy, now)
    else:
        # Each finding of a server says that its host is lost. If nothing is wrong with it, it can be evacuated.
        if any(marker.kind != "host" and never_ends(marker, now) for marker in pair.reported_work):
            yield Draft(Verdict.MISMATCH, "work-never-ends")
        if server_state.existence is Existence.BUILDING:
            # No cell has the server's mappings yet, so nothing proves what its attachments are for.
            yield from _all(pair, Verdict.IN_FLIGHT)
        else:
            yield from _of_living(pair, volume, policy, was_in_use)


def _is_vouched_for(volume: Volume | None, policy: Policy) -> bool:
    """Whether the operator states that the server was deleted, and the volume has no mark of another service."""
    return policy.assume_deleted and policy.door is Door.COMMAND and volume is not None and not volume.consumer


def _as_far_as_seen(draft: Draft, pair: Pair) -> Draft:
    """Return cannot-tell if a mapping of another server could change the verdict, and not all of those were read.

    No guest has a disk through a reserved attachment, through a mapping that was never connected, or through a mapping
    of a deleted server. For those the server's own mappings decide.
    """
    if pair.other_servers_bdms.complete:
        return draft
    server_state, mapping, attachment = pair.server_state, draft.mapping, draft.attachment
    relinkable = draft.code in _RELINKABLE and attachment is not None and not draft.no_remedy
    if relinkable or draft.verdict in (Verdict.DANGLING, Verdict.PROTECTED):
        by_mapping = mapping is not None and mapping.is_connected and server_state.existence is Existence.LIVE
        unsure = by_mapping or (attachment is not None and not attachment.is_reserved)
    else:
        # The attach or detach of a deleted server has ended, but that of another server may still be in progress
        # (core/work.py:_is_left_half_way).
        stuck = server_state.existence is Existence.DELETED and any(
            marker.kind == "volume" for marker in pair.open_work
        )
        unsure = stuck and draft.verdict is Verdict.IN_FLIGHT
    return Draft(Verdict.CANNOT_TELL, mapping=mapping, attachment=attachment) if unsure else draft


def _all(pair: Pair, verdict: Verdict, code: str = "", *, is_urgent: bool = False) -> Iterator[Draft]:
    named = {mapping.attachment_id for mapping in pair.mappings}
    for mapping in pair.mappings:
        yield Draft(verdict, code, mapping=mapping, is_urgent=is_urgent)
    for attachment in pair.attachments:
        if attachment.id not in named:
            yield Draft(verdict, code, attachment=attachment, is_urgent=is_urgent)


def _obstructing(pair: Pair, policy: Policy, now: datetime) -> bool:
    server_state = pair.server_state
    server = server_state.server
    waived = policy.no_host and server is not None and server.is_stopped
    # Rows of a deleted server that no host ever used can be removed whatever the state of its host; _of_deleted judges
    # the others.
    waived = waived or server_state.existence is Existence.DELETED
    return any(not (waived and marker.kind == "host") and not never_ends(marker, now) for marker in pair.open_work)


def _lost_host(pair: Pair, policy: Policy) -> Refusal | None:
    """Return why nothing of the server may be changed while its host does not answer; None if the host is not down.

    An operator can leave the host out (--no-host) if the server is stopped or deleted.
    """
    server, down = pair.server_state.server, pair.server_state.host_down
    is_off = server is not None and (server.is_stopped or server.deleted)
    if down is None or server is None or (policy.no_host and is_off):
        return None
    return Refusal(f"host {server.host} {down.detail}")


def _kept(draft: Draft, because: Refusal) -> Draft:
    """Return the draft of a row that is kept whatever the door, unless nothing is wrong with it."""
    is_wrong = draft.verdict in (Verdict.DANGLING, Verdict.MISMATCH, Verdict.PROTECTED)
    return dataclasses.replace(draft, kept_because=because) if is_wrong else draft


def _in_flight(pair: Pair, volume: Volume | None, now: datetime) -> Iterator[Draft]:
    only_volumes = all(
        marker.kind == "volume" or (marker.kind == "host" and never_ends(marker, now)) for marker in pair.open_work
    )
    stuck = volume is not None and volume.status in ("attaching", "detaching")
    if only_volumes and stuck and not pair.mappings and _is_own_work(pair):
        # An attach begins with the mapping, and a detach ends with it: neither goes on without one.
        for attachment in pair.attachments:
            yield Draft(Verdict.MISMATCH, "transition-stuck", attachment=attachment, no_remedy=True)
    elif only_volumes and stuck and pair.mappings:
        mapping = pair.mappings[0]
        own = any(each.id == mapping.attachment_id and each.status == "attached" for each in pair.attachments)
        rolls_back = volume is not None and volume.status == "detaching" and own
        yield Draft(Verdict.MISMATCH, "transition-stuck", mapping=mapping, no_remedy=not rolls_back)
    else:
        yield from _all(pair, Verdict.IN_FLIGHT)


def _is_own_work(pair: Pair) -> bool:
    """Whether nobody but the server can be attaching or detaching the volume, and no swap of the server can."""
    alone = pair.others.absent and pair.other_servers_bdms.absent
    return alone and all(marker.volume_id == pair.volume_id for marker in pair.open_work)


def _of_deleted(pair: Pair, volume: Volume | None, policy: Policy, now: datetime) -> Iterator[Draft]:
    if any(mapping.is_legacy for mapping in pair.mappings):
        yield from _all(pair, Verdict.LEGACY)
        return
    for mapping in pair.mappings:
        yield Draft(Verdict.DANGLING, "mapping-of-deleted-server", mapping=mapping)
    for attachment in pair.attachments:
        yield _left_by_deleted(pair, volume, attachment, policy, now)


def _left_by_deleted(pair: Pair, volume: Volume | None, attachment: Attachment, policy: Policy, now: datetime) -> Draft:
    server = pair.server_state.server
    if is_named_by_other_server(pair, attachment):
        return Draft(Verdict.MISMATCH, "link-mismatch", attachment=attachment)
    if attachment.is_reserved:
        kept_because = _kept_attachment(pair, volume)
        return Draft(Verdict.DANGLING, "attachment-of-deleted-server", attachment=attachment, kept_because=kept_because)
    down = pair.server_state.host_down
    if down and not never_ends(down, now):
        return Draft(Verdict.IN_FLIGHT, attachment=attachment)
    host = volume.host_of(attachment.id) if volume else None
    # The server is deleted: either it uses no attachment, or all of them are kept.
    if may_share_host(pair, volume, host, attachment, ()):
        return Draft(Verdict.MISMATCH, "attachment-shares-host", attachment=attachment)
    hosts = {host, server.host if server else None} - {None}
    proved = pair.server_state.guest_lacks(pair.volume_id, hosts)
    unasked = None
    if server is None and not proved:
        # The purge of the server also removed Nova's record that its guest ended.
        unasked = Refusal(f"host {host or 'of the attachment'} does not prove that no guest uses the volume")
    return Draft(
        Verdict.DANGLING,
        "attachment-of-deleted-server",
        attachment=attachment,
        kept_because=_kept_attachment(pair, volume)
        or _lost_host(pair, policy)
        or _host_left_behind(pair, host, policy)
        or unasked,
        guest_may_live=True,
        proved=proved,
    )


def _host_left_behind(pair: Pair, host: str | None, policy: Policy) -> Refusal | None:
    """Return why a host other than the server's last one may still have a guest with the disk.

    An evacuation or a live migration can leave such an attachment. Returns None if the attachment's host proves that no
    guest of the server there has the disk, or if it does not answer and the operator states it.
    """
    server = pair.server_state.server
    if policy.vouches_for_other_host and not pair.server_state.has_answered(host or ""):
        return None
    state = pair.server_state
    is_elsewhere = bool(host and server and server.host and host != server.host)
    # If the guest is seen there, another rule keeps the row, and knows how to end that guest.
    if not is_elsewhere or state.guest_lacks(pair.volume_id, {host}) or host in state.hosts_with_disk(pair.volume_id):
        return None
    last = server.host if server else None
    return Refusal(f"it is connected through host {host}, and the server was last on {last}")


def _of_living(pair: Pair, volume: Volume | None, policy: Policy, was_in_use: WasInUse) -> Iterator[Draft]:
    if are_duplicates(pair):
        for mapping in pair.mappings:
            yield duplicated(pair, volume, mapping, policy, was_in_use)
        return
    if not pair.mappings:
        for attachment in pair.attachments:
            yield _unmapped(pair, volume, attachment)
        return
    (mapping,) = pair.mappings
    if mapping.is_legacy:
        yield from _all(pair, Verdict.LEGACY)
    elif mapping.attachment_id is None:
        yield _without_id(pair, volume, mapping, policy)
    else:
        own = next((attachment for attachment in pair.attachments if attachment.id == mapping.attachment_id), None)
        draft = _named(pair, volume, mapping, own, policy, was_in_use)
        yield draft
        # The attachment that the mapping should name instead is in use, and the finding of the mapping explains it.
        explained = (own, draft.attachment) if own else ()
        for attachment in pair.attachments:
            if attachment not in explained:
                yield _beside(pair, volume, own, attachment)


def _without_id(pair: Pair, volume: Volume | None, mapping: BlockDeviceMapping, policy: Policy) -> Draft:
    attachment = pair.attachments[0] if pair.attachments else None
    connected = connected_beside(pair, volume, None)
    if connected and connected is attachment:
        # The attach stopped after Cinder had completed the attachment and before Nova wrote its id.
        code = "mapping-names-reservation"
        return Draft(Verdict.MISMATCH, "attach-half-made", mapping=mapping, attachment=attachment, acts_as=code)
    if attachment and attachment.status == "error_attaching" and len(pair.attachments) == 1:
        kept_because = _kept_attachment(pair, volume)
        return Draft(Verdict.DANGLING, "attachment-failed", attachment=attachment, kept_because=kept_because)
    if not all(each.is_reserved for each in pair.attachments):
        return _half_connected(pair, volume, mapping)
    if attachment and is_named_by_other_server(pair, attachment):
        return Draft(Verdict.MISMATCH, "link-mismatch", mapping=mapping, attachment=attachment)
    # Cinder's row is removed first: the mapping is the only evidence for it. The next run then removes the mapping.
    kept_because = _kept_attachment(pair, volume) if attachment else None
    if mapping.source_type != "volume":
        kept_because = Refusal("Nova creates this volume itself, and attaches it only when it builds the guest")
    elif mapping.created_at is None:
        kept_because = Refusal("the age of the mapping is not known")
    # nova/compute/api.py:_attach_volume writes the mapping, calls Cinder, then writes the attachment's id. It sets no
    # task_state and no instance action, so only the age tells an attach in progress from one that stopped.
    not_before = mapping.created_at + policy.attach_timeout if mapping.created_at else None
    verdict = Verdict.PROTECTED if is_root(pair, mapping) else Verdict.DANGLING
    code = "attach-half-made" if attachment else "mapping-never-attached"
    return Draft(
        verdict, code, mapping=mapping, attachment=attachment, kept_because=kept_because, not_before=not_before
    )


def _half_connected(pair: Pair, volume: Volume | None, mapping: BlockDeviceMapping) -> Draft:
    """Judge a mapping without an id whose attachment may be connected, but not where the server is.

    A start of the server ignores such a mapping, so a stopped server uses its attachment no more.
    """
    first, *others = pair.attachments
    is_removable = not others and first.id in pair.server_state.unmapped and mapping.source_type == "volume"
    if not is_removable or is_root(pair, mapping) or is_named_by_other_server(pair, first):
        return Draft(Verdict.MISMATCH, "attach-half-made", mapping=mapping, attachment=first, no_remedy=True)
    host = volume.host_of(first.id) if volume else None
    shared = _SHARES_HOST if may_share_host(pair, volume, host, first) else None
    kept_because = _kept_attachment(pair, volume) or shared
    code = "attach-half-made"
    return Draft(
        Verdict.DANGLING,
        code,
        mapping=mapping,
        attachment=first,
        kept_because=kept_because,
        acts_as="attachment-failed",
    )


def _named(
    pair: Pair,
    volume: Volume | None,
    mapping: BlockDeviceMapping,
    own: Attachment | None,
    policy: Policy,
    was_in_use: WasInUse,
) -> Draft:
    """Judge a mapping that names an attachment. `own` is that attachment, or None if the server's list lacks it."""
    server_state = pair.server_state
    if own is None:
        return lost_mapping(pair, volume, mapping, policy, was_in_use)
    server_host = server_state.server.host if server_state.server else None
    host = volume.host_of(own.id) if volume else None
    if own.status != "attached":
        if own.status == "reserved" and server_state.server and server_state.server.is_without_host:
            return Draft(Verdict.CONSISTENT, mapping=mapping)
        connected = connected_beside(pair, volume, own)
        if connected:
            return Draft(Verdict.MISMATCH, "mapping-names-reservation", mapping=mapping, attachment=connected)
        return Draft(Verdict.MISMATCH, "transition-stuck", mapping=mapping, attachment=own, no_remedy=True)
    if host and server_host and host != server_host:
        connected = connected_beside(pair, volume, own)
        no_remedy = connected is None
        return Draft(Verdict.MISMATCH, "migration-half-done", mapping, connected or own, no_remedy=no_remedy)
    if volume and volume.status == "available" and policy.available_means_gone:
        verdict = Verdict.PROTECTED if is_root(pair, mapping) else Verdict.DANGLING
        shared = may_share_host(pair, volume, server_host, own)
        kept_because = Refusal("another server may use the volume on the same host") if shared else None
        return Draft(
            verdict,
            "volume-status-wrong",
            mapping,
            kept_because=kept_because,
            acts_as="mapping-without-attachment",
        )
    if volume and not volume.multiattach and pair.other_claimants:
        is_urgent = server_state.may_write and bool(pair.other_writers)
        return Draft(Verdict.MISMATCH, "volume-in-use-elsewhere", mapping=mapping, attachment=own, is_urgent=is_urgent)
    if volume and volume.status != "in-use":
        return Draft(Verdict.MISMATCH, "volume-status-wrong", mapping=mapping, attachment=own)
    # Nova writes the connection before it completes the attachment (nova/virt/block_device.py:_volume_attach).
    if server_host and not mapping.has_connection_info:
        return Draft(Verdict.MISMATCH, "mapping-without-connection", mapping=mapping, attachment=own)
    return Draft(Verdict.CONSISTENT, mapping=mapping)


def _beside(pair: Pair, volume: Volume | None, own: Attachment | None, attachment: Attachment) -> Draft:
    """Judge an attachment of a (server, volume) whose mapping names another attachment; `own` is None if it is lost."""
    if own is None:
        return _unmapped(pair, volume, attachment)
    if attachment.is_reserved:
        settled = own.status == "attached" or (
            pair.server_state.server is not None and pair.server_state.server.is_without_host
        )
        kept_because = None if settled else Refusal(f"attachment {own.id}, which Nova names, is {own.status}")
        return dataclasses.replace(_unmapped(pair, volume, attachment, kept_because), explained_on=_rightful_host(pair))
    host, own_host = (volume.host_of(attachment.id), volume.host_of(own.id)) if volume else (None, None)
    server_host = pair.server_state.server.host if pair.server_state.server else None
    if attachment.status.startswith("error"):
        verdict = Verdict.MISMATCH if may_share_host(pair, volume, host, attachment) else Verdict.DANGLING
        kept_because = _kept_attachment(pair, volume)
        return Draft(verdict, "attachment-failed", attachment=attachment, kept_because=kept_because)
    if not host or not own_host or host == own_host:
        return Draft(Verdict.MISMATCH, "attachment-shares-host", attachment=attachment)
    if server_host is None:
        return Draft(Verdict.MISMATCH, "attachment-shares-host", attachment=attachment)
    if own_host != server_host:
        return Draft(Verdict.MISMATCH, "migration-half-done", attachment=attachment, no_remedy=True)
    # The server's guest has the disk through its own attachment. Only the host that the server has left can prove that
    # the disk is no longer used there.
    proved = pair.server_state.guest_lacks(pair.volume_id, {host})
    kept_because = _kept_attachment(pair, volume)
    if may_share_host(pair, volume, host, attachment):
        kept_because = kept_because or _SHARES_HOST
    return Draft(
        Verdict.DANGLING,
        "attachment-left-by-migration",
        attachment=attachment,
        kept_because=kept_because,
        proved=proved,
        explained_on=_rightful_host(pair),
    )


def _rightful_host(pair: Pair) -> str | None:
    """Return the host on which the guest has the disk through the attachment that Nova names."""
    return pair.server_state.server.host if pair.server_state.server else None


def _unmapped(pair: Pair, volume: Volume | None, attachment: Attachment, kept_because: Refusal | None = None) -> Draft:
    # A mapping of another volume or of another server names it, and either side may be wrong.
    if attachment.id not in pair.server_state.unmapped or is_named_by_other_server(pair, attachment):
        return Draft(Verdict.MISMATCH, "link-mismatch", attachment=attachment)
    kept_because = kept_because or _kept_attachment(pair, volume)
    if attachment.is_reserved:
        return Draft(Verdict.DANGLING, "attachment-never-used", attachment=attachment, kept_because=kept_because)
    host = volume.host_of(attachment.id) if volume else None
    # Where no mapping uses the volume, none of the server's attachments of it is in use, or all of them are kept.
    own = pair.attachments if pair.mappings else ()
    if may_share_host(pair, volume, host, attachment, own):
        kept_because = kept_because or _SHARES_HOST
    if attachment.status.startswith("error"):
        return Draft(Verdict.DANGLING, "attachment-failed", attachment=attachment, kept_because=kept_because)
    # If Cinder does not return the attachment's host, the attachment may be connected through any host.
    server_host = pair.server_state.server.host if pair.server_state.server else None
    proved = not pair.mappings and pair.server_state.guest_lacks(pair.volume_id, {host, server_host})
    if any(tombstone.attachment_id == attachment.id for tombstone in pair.tombstones):
        return Draft(
            Verdict.DANGLING,
            "attachment-released-by-nova",
            attachment=attachment,
            kept_because=kept_because,
            proved=proved,
        )
    was_legacy = any(tombstone.is_legacy for tombstone in pair.tombstones)
    if attachment.is_unconnected and host is None and not was_legacy:
        # A client of Cinder's API made it: nothing on a host belongs to it, and no backend is asked when it goes.
        return Draft(
            Verdict.DANGLING,
            "attachment-unknown-to-nova",
            attachment=attachment,
            kept_because=kept_because,
            acts_as="attach-half-made",
        )
    verdict = Verdict.DANGLING if proved else Verdict.MISMATCH
    return Draft(verdict, "attachment-unknown-to-nova", attachment=attachment, kept_because=kept_because, proved=proved)


def _kept_attachment(pair: Pair, volume: Volume | None) -> Refusal | None:
    if pair.server_state.nova_is_behind:
        return Refusal("; ".join(pair.server_state.nova_is_behind))
    unproved = pair.server_state.unproved
    if unproved:
        return Refusal(
            f"a mapping of the server names attachment {min(unproved)}, but Cinder does not have it for this server "
            "and volume, so any other attachment of the server may be the one in use"
        )
    if volume is None:
        return Refusal("Cinder has the attachment but not its volume")
    if volume.status not in SETTLED:
        return Refusal(f"the volume is {volume.status}, and the removal of an attachment would overwrite this status")
    return None
