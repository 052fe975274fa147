# SPDX-License-Identifier: Apache-2.0
"""Judge a mapping whose attachment Cinder does not have: it was deleted on purpose, or lost while in use."""

from __future__ import annotations

from collections.abc import Callable

from dedangle.core.case import Policy
from dedangle.core.decisions import Verdict
from dedangle.core.drafting import Draft
from dedangle.core.pair import Pair, ServerState
from dedangle.core.records import BlockDeviceMapping, Refusal, Volume
from dedangle.core.sharing import connected_beside, is_root, may_share_host

WasInUse = Callable[[BlockDeviceMapping], bool]
"""Whether an earlier run found the mapping's lost attachment in use, and the row has not changed since."""


def lost_mapping(
    pair: Pair, volume: Volume | None, mapping: BlockDeviceMapping, policy: Policy, was_in_use: WasInUse
) -> Draft:
    """Judge a mapping whose attachment is not in the server's list."""
    server_state, server = pair.server_state, pair.server_state.server
    if mapping.attachment_id not in server_state.lost:
        return Draft(Verdict.MISMATCH, "link-mismatch", mapping=mapping)
    # Cold migration, resize, shelving and rebuild create an attachment, delete the old one and update the mapping last.
    # A volume swap does the same with another volume. After a crash the disk in use has an attachment that no mapping
    # names.
    # A reservation of another volume is none of these: a swap connects the new volume before it lets the old one go.
    # The attachment of an attach that failed is none of these either.
    is_replaced = any(each.status != "error_attaching" for each in pair.attachments)
    if is_replaced or server_state.unmapped_connected:
        # A single attachment of the same volume that was never connected is the new one of the operation; of several
        # that were never connected, one is as good as another.
        are_alone = {each.id for each in pair.attachments} == server_state.unmapped
        are_equal = len(pair.attachments) == 1 or all(each.is_reserved for each in pair.attachments)
        alone = pair.attachments[0] if pair.attachments and are_alone and are_equal else None
        if alone and pair.other_servers_bdms.rows:
            alone = None
        code = "mapping-names-lost-attachment"
        contested = None
        if pair.other_claimants and not (volume and volume.multiattach):
            contested = Refusal(f"server {pair.other_holder} also holds the volume; decide which of the two keeps it")
        if policy.reattach and alone and (alone.is_reserved or alone is connected_beside(pair, volume, None)):
            acts_as = "attachment-lost-in-use"
            return Draft(
                Verdict.MISMATCH, code, mapping=mapping, attachment=alone, kept_because=contested, acts_as=acts_as
            )
        replacement = alone if alone and alone.is_reserved and len(server_state.lost) == 1 else None
        behind = Refusal("; ".join(server_state.cinder_is_behind)) if server_state.cinder_is_behind else None
        return Draft(Verdict.MISMATCH, code, mapping=mapping, attachment=replacement, kept_because=behind or contested)
    shared = bool(pair.others.rows or pair.other_servers_bdms.rows) and not (volume and volume.multiattach)
    if shared and server_state.may_write and pair.other_writers:
        return Draft(Verdict.MISMATCH, "volume-in-use-elsewhere", mapping=mapping, is_urgent=True)
    own_host = server.host if server else None
    proved = server_state.guest_lacks(mapping.volume_id, {own_host})
    may_have_it = server_state.may_write and not proved
    cinder_is_wrong = (
        _cinder_is_wrong(server_state, mapping)
        or (may_have_it and was_in_use(mapping))
        or (not proved and volume is not None and volume.is_of_backup(mapping))
    )
    if (shared and server_state.may_write) or cinder_is_wrong or _is_seen_in_use(server_state, mapping, policy):
        return Draft(
            Verdict.MISMATCH,
            "attachment-lost-in-use",
            mapping=mapping,
            kept_because=_kept_from_attaching(pair, volume),
            cinder_is_wrong=cinder_is_wrong,
        )
    if server and server.vm_state == "error" and not server.host and server.launched_at is None:
        code = "mapping-never-launched"
    elif pair.volume.absent:
        code = "mapping-of-missing-volume"
    else:
        code = "mapping-without-attachment"
    verdict = Verdict.PROTECTED if is_root(pair, mapping) else Verdict.DANGLING
    if policy.reattach and volume is not None and code == "mapping-without-attachment":
        kept_because = _kept_from_attaching(pair, volume)
        return Draft(verdict, code, mapping=mapping, kept_because=kept_because, acts_as="attachment-lost-in-use")
    kept_because = _kept_lost_mapping(pair, volume, policy)
    return Draft(verdict, code, mapping=mapping, kept_because=kept_because, proved=proved)


def _kept_from_attaching(pair: Pair, volume: Volume | None) -> Refusal | None:
    """Return why Cinder would not give the server a new attachment of the volume."""
    if volume is None:
        return Refusal("Cinder no longer has the volume; import its data with cinder manage before you remove anything")
    if not pair.other_servers_bdms.complete:
        return Refusal(f"another server may have the volume: {pair.other_servers_bdms.why}")
    if volume.multiattach and volume.status == "in-use":
        return None
    if pair.other_claimants:
        return Refusal(f"server {pair.other_holder} also holds the volume; decide which of the two servers keeps it")
    if volume.status != "available":
        return Refusal(f"Cinder only attaches a volume that is available, and this volume is {volume.status}")
    return None


def _cinder_is_wrong(server_state: ServerState, mapping: BlockDeviceMapping) -> bool:
    """Whether Cinder lost the attachment while it was in use, so that nobody deleted it on purpose."""
    return bool(server_state.cinder_is_behind) or server_state.failed_to_migrate_since(mapping.changed_at)


def _is_seen_in_use(server_state: ServerState, mapping: BlockDeviceMapping, policy: Policy) -> bool:
    """Whether the running guest has the volume of the lost attachment, and the door does not power the guest off.

    A door that powers the guest off removes the mapping, as the blueprint requires.
    """
    server = server_state.server
    goes_off = policy.guest_off or (policy.restart and server is not None and server.can_be_stopped)
    return not goes_off and bool(server_state.hosts_with_disk(mapping.volume_id))


def _kept_lost_mapping(pair: Pair, volume: Volume | None, policy: Policy) -> Refusal | None:
    server = pair.server_state.server
    # The server's own host sees what else uses the device, and then removes the mapping without a disconnect.
    by_host = policy.at_host or pair.server_state.host_acts
    may_disconnect = not by_host and not policy.no_host
    host = server.host if server else None
    if may_disconnect and host and may_share_host(pair, volume, host, None):
        # Nova counts the users of a multi-attach volume on a host by Cinder's attachments alone
        # (nova/virt/libvirt/driver.py:_should_disconnect_target), so a disconnect can unplug another server's disk.
        return Refusal("another server may use the volume on the same host, and a disconnect could unplug its disk")
    if volume and volume.status == "in-use" and not pair.others.rows:
        return Refusal("the volume is in-use although Cinder has no attachment of it, so Cinder contradicts itself")
    return None
