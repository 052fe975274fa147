# SPDX-License-Identifier: Apache-2.0
"""Judge one of several mappings of a volume, or one of several mappings that name the same attachment."""

from __future__ import annotations

import dataclasses

from dedangle.core.case import Policy
from dedangle.core.decisions import Door, Verdict
from dedangle.core.drafting import Draft
from dedangle.core.lost import WasInUse, lost_mapping
from dedangle.core.pair import Pair
from dedangle.core.records import BlockDeviceMapping, Volume
from dedangle.core.sharing import is_root

_CODE = "mapping-duplicated"


def are_duplicates(pair: Pair) -> bool:
    """Whether a mapping of the pair cannot be judged by itself.

    If Cinder does not have an attachment that mappings of several volumes name, each volume is judged by itself.
    """
    named_twice = {mapping.attachment_id for mapping in pair.mappings} & pair.server_state.twice_named
    return len(pair.mappings) > 1 or bool(named_twice - pair.server_state.lost)


def duplicated(
    pair: Pair, volume: Volume | None, mapping: BlockDeviceMapping, policy: Policy, was_in_use: WasInUse
) -> Draft:
    """Judge one of the mappings; the surplus one is removed if Cinder has no attachment for it."""
    others = [each for each in pair.mappings if each is not mapping]
    named = {each.attachment_id for each in others}
    alone = all(attachment.id in named for attachment in pair.attachments)
    undecided = Draft(Verdict.MISMATCH, _CODE, mapping=mapping, no_remedy=True)
    if not (others and alone) or is_root(pair, mapping):
        return undecided
    if not mapping.is_connected:
        if mapping.source_type != "volume" or mapping.created_at is None or not named - {None}:
            return undecided
        not_before = mapping.created_at + policy.attach_timeout
        return Draft(Verdict.DANGLING, _CODE, mapping=mapping, not_before=not_before)
    if mapping.attachment_id not in pair.server_state.lost or mapping is _kept(pair):
        return undecided
    # It is judged as if the other mappings, with their attachments, did not exist. The volume stays mapped.
    only = dataclasses.replace(pair, mappings=(mapping,), attachments=())
    detached = dataclasses.replace(volume, status="available") if volume else None
    draft = lost_mapping(only, detached, mapping, dataclasses.replace(policy, reattach=False), was_in_use)
    # A reboot would disconnect the volume that the kept mapping uses.
    if draft.verdict is not Verdict.DANGLING or policy.door is not Door.COMMAND:
        return dataclasses.replace(undecided, no_remedy=False)
    return dataclasses.replace(draft, code=_CODE, acts_as="mapping-without-attachment")


def _kept(pair: Pair) -> BlockDeviceMapping:
    """Return the mapping to keep: that of the root disk, or else one whose attachment Cinder has."""
    lost = pair.server_state.lost

    def rank(mapping: BlockDeviceMapping) -> tuple[bool, bool, bool, int]:
        return not is_root(pair, mapping), not mapping.is_connected, mapping.attachment_id in lost, mapping.id

    return min(pair.mappings, key=rank)
