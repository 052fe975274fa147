# SPDX-License-Identifier: Apache-2.0
"""The judgement: what a pair is, and what a door may do about it. Only this file and core/lost.py say "dangling".

It is long because the order of its questions is the rule: who doubts a verdict reads it from top to bottom here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from datetime import datetime

from dedangle.core.case import Policy
from dedangle.core.decisions import Disposition, Door, Finding, FindingKey, Remedy, Verdict
from dedangle.core.drafting import Draft, finding_of
from dedangle.core.lost import WasInUse, lost_mapping
from dedangle.core.pair import Pair
from dedangle.core.pairing import never_ends
from dedangle.core.records import Attachment, BlockDeviceMapping, Existence, Refusal, Volume
from dedangle.core.sharing import connected_beside, is_named_by_other_server, is_root, may_share_host

# In these cases Cinder's recompute after a delete leaves the volume's status as the operator expects it; any other
# status (error, maintenance, ...) it would overwrite (cinder/db/sqlalchemy/api.py:volume_detached).
_SETTLED = ("available", "in-use", "reserved", "attaching", "detaching")
# Their mapping can come to name another attachment.
_RELINKABLE = (
    *("mapping-names-lost-attachment", "mapping-names-reservation"),
    *("migration-half-done", "attach-half-made"),
)
_SHARES_HOST = Refusal("another attachment of the volume may be connected through the same host")


def judge(
    pair: Pair, *, now: datetime, policy: Policy, first_seen: Callable[[FindingKey], datetime | None]
) -> tuple[Finding, ...]:
    """Judge every mapping and attachment of the pair.

    Returns one finding for each of them, or for several that one finding explains; a finding whose code is in
    findings.KINDS is to be listed, any other's code is its verdict. Total: it never raises for any pair.
    """

    def was_in_use(mapping: BlockDeviceMapping) -> bool:
        # Side by side the lost attachments show that Cinder is wrong; the last ones stand alone once others are back.
        names = (pair.server_state.server_id, pair.volume_id, mapping.attachment_id, mapping.uuid, mapping.version)
        return first_seen(FindingKey("attachment-lost-in-use", *names)) is not None

    drafts = _drafts(pair, policy, now, was_in_use)
    return tuple(finding_of(_as_far_as_seen(draft, pair), pair, now, policy, first_seen) for draft in drafts)


def ownerless(attachment: Attachment) -> Finding:
    """What an attachment without a server is: another consumer's (the Glance store, a client of its own)."""
    return Finding(
        code=Verdict.FOREIGN.value,
        verdict=Verdict.FOREIGN,
        remedy=Remedy.NONE,
        disposition=Disposition.PROTECT,
        server_id="",
        volume_id=attachment.volume_id,
        attachment_id=attachment.id,
        attachment=attachment,
        reason=f"Attachment {attachment.id} of volume {attachment.volume_id} names no server: it is not Nova's.",
        evidence=(f"Cinder: attachment {attachment.id} is {attachment.status} and has no instance_uuid",),
    )


def _drafts(pair: Pair, policy: Policy, now: datetime, was_in_use: WasInUse) -> Iterator[Draft]:
    """In the order of the design: preconditions, foreign, in flight, then what is left of the states."""
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
                kept_because=Refusal("Nova has no trace of the server, not even that it was deleted"),
            )
        for attachment in pair.attachments:
            yield Draft(Verdict.FOREIGN, "attachment-unknown-owner", attachment=attachment)
    elif not pair.mappings and volume and volume.consumer:
        # Ironic's volume targets carry the UUID of a Nova server and no mapping: the metadata is all that tells.
        yield from _all(pair, Verdict.FOREIGN)
    elif _obstructing(pair, policy, now):
        yield from _in_flight(pair, volume)
    elif server_state.hosts_with_disk(pair.volume_id) and pair.other_writers and not (volume and volume.multiattach):
        yield from _all(pair, Verdict.MISMATCH, "volume-in-use-elsewhere", is_urgent=True)
    elif server_state.existence in (Existence.DELETED, Existence.UNKNOWN):
        yield from _of_deleted(pair, volume)
    else:
        if (
            any(never_ends(marker, now) for marker in server_state.markers)
            and pair.volume_id == server_state.first_volume
        ):
            yield Draft(Verdict.MISMATCH, "work-never-ends")
        yield from _of_living(pair, volume, policy, was_in_use)


def _is_vouched_for(volume: Volume | None, policy: Policy) -> bool:
    """Whether an operator vouches that the server was deleted, and nobody else marked the volume as theirs."""
    return policy.assume_deleted and policy.door is Door.COMMAND and volume is not None and not volume.consumer


def _as_far_as_seen(draft: Draft, pair: Pair) -> Draft:
    """Withdraw what a mapping of another server could overthrow, while not all of those are read.

    Nobody has a disk through a reserved attachment, nor through a mapping that was never connected or whose server is
    deleted: there the server's own mappings decide.
    """
    if pair.other_servers_bdms.complete:
        return draft
    server_state, mapping, attachment = pair.server_state, draft.mapping, draft.attachment
    relinkable = draft.code in _RELINKABLE and attachment is not None and not draft.no_remedy
    if relinkable or draft.verdict in (Verdict.DANGLING, Verdict.PROTECTED):
        by_mapping = mapping is not None and mapping.is_connected and server_state.existence is Existence.LIVE
        unsure = by_mapping or (attachment is not None and not attachment.is_reserved)
    else:
        # A deleted server's attach or detach goes on no more, but another server's may (pairing.py:_is_left_half_way).
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
    # What a deleted server left in the databases alone can go whatever its host; see _of_deleted for the rest.
    waived = waived or server_state.existence is Existence.DELETED
    return any(not (waived and marker.kind == "host") and not never_ends(marker, now) for marker in pair.open_work)


def _in_flight(pair: Pair, volume: Volume | None) -> Iterator[Draft]:
    only_volumes = all(marker.kind == "volume" for marker in pair.open_work)
    stuck = volume is not None and volume.status in ("attaching", "detaching")
    if only_volumes and stuck and pair.mappings:
        mapping = pair.mappings[0]
        own = any(each.id == mapping.attachment_id and each.status == "attached" for each in pair.attachments)
        rolls_back = volume is not None and volume.status == "detaching" and own
        yield Draft(Verdict.MISMATCH, "transition-stuck", mapping=mapping, no_remedy=not rolls_back)
    else:
        yield from _all(pair, Verdict.IN_FLIGHT)


def _of_deleted(pair: Pair, volume: Volume | None) -> Iterator[Draft]:
    if any(mapping.is_legacy for mapping in pair.mappings):
        yield from _all(pair, Verdict.LEGACY)
        return
    for mapping in pair.mappings:
        yield Draft(Verdict.DANGLING, "mapping-of-deleted-server", mapping=mapping)
    for attachment in pair.attachments:
        yield _left_by_deleted(pair, volume, attachment)


def _left_by_deleted(pair: Pair, volume: Volume | None, attachment: Attachment) -> Draft:
    server = pair.server_state.server
    if is_named_by_other_server(pair, attachment):
        return Draft(Verdict.MISMATCH, "link-mismatch", attachment=attachment)
    if attachment.is_reserved:
        kept_because = _kept_attachment(pair, volume)
        return Draft(Verdict.DANGLING, "attachment-of-deleted-server", attachment=attachment, kept_because=kept_because)
    if any(marker.kind == "host" for marker in pair.server_state.markers):
        return Draft(Verdict.IN_FLIGHT, attachment=attachment)
    host = volume.host_of(attachment.id) if volume else None
    if may_share_host(pair, volume, host, attachment):
        return Draft(Verdict.MISMATCH, "attachment-shares-host", attachment=attachment)
    hosts = {host, server.host if server else None} - {None}
    proved = pair.server_state.guest_lacks(pair.volume_id, hosts)
    unasked = None
    if server is None and not proved:
        # Nova's record that the guest ended is gone with the server.
        unasked = Refusal(f"host {host or 'of the attachment'} does not prove that no guest uses the volume")
    return Draft(
        Verdict.DANGLING,
        "attachment-of-deleted-server",
        attachment=attachment,
        kept_because=_kept_attachment(pair, volume) or _host_left_behind(pair, host) or unasked,
        guest_may_live=True,
        proved=proved,
    )


def _host_left_behind(pair: Pair, host: str | None) -> Refusal | None:
    """Why the attachment's host may hold what the server's last one does not; evacuation and live migration leave one.

    None if the attachment's host proves that it has no guest of the server with the disk.
    """
    server = pair.server_state.server
    if not (host and server and server.host and host != server.host) or pair.server_state.guest_lacks(
        pair.volume_id, {host}
    ):
        return None
    return Refusal(f"it is connected through host {host}, and the server was last on {server.host}")


def _of_living(pair: Pair, volume: Volume | None, policy: Policy, was_in_use: WasInUse) -> Iterator[Draft]:
    if len(pair.mappings) > 1 or any(
        mapping.attachment_id in pair.server_state.twice_named for mapping in pair.mappings
    ):
        for mapping in pair.mappings:
            yield _duplicated(pair, mapping, policy)
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
        # What the mapping shall name in place of its own attachment is in use, and explained by that finding.
        explained = (own, draft.attachment) if own else ()
        for attachment in pair.attachments:
            if attachment not in explained:
                yield _beside(pair, volume, own, attachment)


def _duplicated(pair: Pair, mapping: BlockDeviceMapping, policy: Policy) -> Draft:
    """Judge one of several mappings of a volume; one that was never connected goes if no attachment may be its own."""
    others = {each.attachment_id for each in pair.mappings if each is not mapping}
    alone = all(attachment.id in others for attachment in pair.attachments)
    never_connected = not mapping.is_connected and mapping.source_type == "volume" and mapping.created_at is not None
    if not (never_connected and alone and others - {None}) or is_root(pair, mapping):
        return Draft(Verdict.MISMATCH, "mapping-duplicated", mapping=mapping, no_remedy=True)
    not_before = mapping.created_at + policy.attach_timeout if mapping.created_at else None
    return Draft(Verdict.DANGLING, "mapping-duplicated", mapping=mapping, not_before=not_before)


def _without_id(pair: Pair, volume: Volume | None, mapping: BlockDeviceMapping, policy: Policy) -> Draft:
    attachment = pair.attachments[0] if pair.attachments else None
    connected = connected_beside(pair, volume, None)
    if connected and connected is attachment:
        # The attach ended between Cinder's completion and Nova's last write.
        code = "mapping-names-reservation"
        return Draft(Verdict.MISMATCH, "attach-half-made", mapping=mapping, attachment=attachment, acts_as=code)
    if attachment and not (attachment.is_reserved and len(pair.attachments) == 1):
        return Draft(Verdict.MISMATCH, "attach-half-made", mapping=mapping, attachment=attachment, no_remedy=True)
    if attachment and is_named_by_other_server(pair, attachment):
        return Draft(Verdict.MISMATCH, "link-mismatch", mapping=mapping, attachment=attachment)
    # Cinder's row goes first: the mapping names no attachment and is the only evidence, and dangles by itself then.
    kept_because = _kept_attachment(pair, volume) if attachment else None
    if mapping.source_type != "volume":
        kept_because = Refusal("a volume that Nova makes itself gets its attachment only when the guest is built")
    elif mapping.created_at is None:
        kept_because = Refusal("the age of the mapping is not known")
    # nova/compute/api.py:_attach_volume has Nova write the mapping, asks Cinder, then writes the attachment's id: with
    # neither task_state nor instance action, so that only age tells an attach on its way from one that ended.
    not_before = mapping.created_at + policy.attach_timeout if mapping.created_at else None
    verdict = Verdict.PROTECTED if is_root(pair, mapping) else Verdict.DANGLING
    code = "attach-half-made" if attachment else "mapping-never-attached"
    return Draft(
        verdict, code, mapping=mapping, attachment=attachment, kept_because=kept_because, not_before=not_before
    )


def _named(
    pair: Pair,
    volume: Volume | None,
    mapping: BlockDeviceMapping,
    own: Attachment | None,
    policy: Policy,
    was_in_use: WasInUse,
) -> Draft:
    """Judge a mapping that names an attachment, which is in the server's list (own) or not."""
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
    """Judge an attachment of a (server, volume) whose mapping names another one (own), or one that is lost."""
    if own is None:
        return _unmapped(pair, volume, attachment)
    if attachment.is_reserved:
        settled = own.status == "attached" or (
            pair.server_state.server is not None and pair.server_state.server.is_without_host
        )
        kept_because = None if settled else Refusal(f"the attachment that Nova names, {own.id}, is {own.status}")
        return dataclasses.replace(_unmapped(pair, volume, attachment, kept_because), explained_on=_rightful_host(pair))
    host, own_host = (volume.host_of(attachment.id), volume.host_of(own.id)) if volume else (None, None)
    server_host = pair.server_state.server.host if pair.server_state.server else None
    if attachment.status.startswith("error"):
        return Draft(Verdict.MISMATCH, "attachment-failed", attachment=attachment)
    if not host or not own_host or host == own_host:
        return Draft(Verdict.MISMATCH, "attachment-shares-host", attachment=attachment)
    if own_host != server_host:
        return Draft(Verdict.MISMATCH, "migration-half-done", attachment=attachment)
    # The server's guest has the disk, by its own attachment: only the host that it has left can tell that it is gone.
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
    """The host on which the guest has the disk by the attachment that Nova names."""
    return pair.server_state.server.host if pair.server_state.server else None


def _unmapped(pair: Pair, volume: Volume | None, attachment: Attachment, kept_because: Refusal | None = None) -> Draft:
    # A mapping of another volume or of another server names it: either side may be the one that is wrong.
    if attachment.id not in pair.server_state.unmapped or is_named_by_other_server(pair, attachment):
        return Draft(Verdict.MISMATCH, "link-mismatch", attachment=attachment)
    kept_because = kept_because or _kept_attachment(pair, volume)
    if attachment.is_reserved:
        return Draft(Verdict.DANGLING, "attachment-never-used", attachment=attachment, kept_because=kept_because)
    host = volume.host_of(attachment.id) if volume else None
    if may_share_host(pair, volume, host, attachment):
        kept_because = kept_because or _SHARES_HOST
    if attachment.status.startswith("error"):
        return Draft(Verdict.DANGLING, "attachment-failed", attachment=attachment, kept_because=kept_because)
    # An attachment whose host Cinder does not tell may be connected through any.
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
    verdict = Verdict.DANGLING if proved else Verdict.MISMATCH
    return Draft(verdict, "attachment-unknown-to-nova", attachment=attachment, kept_because=kept_because, proved=proved)


def _kept_attachment(pair: Pair, volume: Volume | None) -> Refusal | None:
    if pair.server_state.nova_is_behind:
        return Refusal("; ".join(pair.server_state.nova_is_behind))
    unproved = pair.server_state.unproved
    if unproved:
        return Refusal(
            f"a mapping of the server names attachment {min(unproved)}, which Cinder does not have for it, "
            "so any other attachment of the server may be the one in use"
        )
    if volume is None:
        return Refusal("Cinder has the attachment but not its volume")
    if volume.status not in _SETTLED:
        return Refusal(f"the volume is {volume.status}, which removing an attachment would overwrite")
    return None
