# SPDX-License-Identifier: Apache-2.0
"""The decisions that only a person can make: the states for which no command is printed, each with its question.

The manual's page of ways out prints the list.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from dedangle.core.decisions import Finding
from dedangle.core.findings import KINDS
from dedangle.core.pair import Pair
from dedangle.core.records import SOFT_DELETED, Existence


class Question(NamedTuple):
    """What somebody must decide, and why dedangle cannot."""

    asks: str
    """An indirect question."""
    because: str
    """Why no command is printed, in whole sentences."""
    codes: tuple[str, ...] = ()
    """The codes of the findings that it is about; empty for all codes."""
    applies: Callable[[Pair], bool] = lambda _: True


def _is_unknown(pair: Pair) -> bool:
    return pair.server_state.existence is Existence.UNKNOWN


def _has_no_volume(pair: Pair) -> bool:
    return pair.volume.absent and bool(pair.attachments or pair.others.rows)


def _is_shared(pair: Pair) -> bool:
    return bool(pair.others.rows or pair.other_servers_bdms.rows)


def _may_be_swapped(pair: Pair) -> bool:
    return bool(pair.server_state.mapped and pair.server_state.unmapped_connected)


def _has_unknown_host(pair: Pair) -> bool:
    shown = {ident for volume in pair.volume.rows for ident, _ in volume.hosts}
    return any(each.status == "attached" and each.id not in shown for each in pair.attachments)


def _has_no_host(pair: Pair) -> bool:
    return pair.server_state.server is not None and not pair.server_state.server.host


def _has_lost_host(pair: Pair) -> bool:
    return pair.server_state.host_down is not None


def _is_being_built(pair: Pair) -> bool:
    return any(marker.kind == "build" for marker in pair.open_work)


def _is_in(vm_state: str) -> Callable[[Pair], bool]:
    return lambda pair: pair.server_state.server is not None and pair.server_state.server.vm_state == vm_state


QUESTIONS = (
    Question(
        "to whom the id belongs that Nova has no record of",
        "It may be a server of another region, of Ironic or of another client of Cinder. If you know that it was a "
        "server that is deleted and purged, add `--assume-deleted`.",
        applies=_is_unknown,
    ),
    Question(
        "whether the host comes back, which has been down for more than a day",
        "Nothing is proved or changed on a host that does not answer. Start nova-compute there. If the host is lost "
        "and the server is not deleted, `openstack server evacuate SERVER` rebuilds it on another host.",
        applies=_has_lost_host,
    ),
    Question(
        "whether the server is still wanted, whose build has stopped",
        "Nova has never started the server on a host. `openstack server delete SERVER` ends the build and releases its "
        "volumes.",
        applies=_is_being_built,
    ),
    Question(
        "how Cinder forgets the attachment of a volume that it does not have",
        "Nothing in Nova uses the attachment, and Cinder's API deletes no attachment without its volume. Only an edit "
        "of Cinder's database ends it.",
        applies=_has_no_volume,
    ),
    Question(
        "which of the two sides is right",
        "Nova and Cinder name different servers or volumes for one attachment, and neither side has a newer record.",
        codes=("link-mismatch",),
    ),
    Question(
        "which of the servers keeps the volume, and when the other one may be interrupted",
        "Many storage backends have one export for each volume and host, so the deletion of one attachment can unplug "
        "the disk of the other server.",
        applies=_is_shared,
    ),
    Question(
        "whether the resize is confirmed or reverted",
        "The server is in VERIFY_RESIZE, and its two hosts have its disks until then. Only its owner knows whether the "
        "new size works: `openstack server resize confirm SERVER` or `openstack server resize revert SERVER`.",
        applies=_is_in("resized"),
    ),
    Question(
        "whether the server is restored or deleted for good",
        "The server is SOFT_DELETED. `openstack server restore SERVER` starts it, and its commands are printed then. "
        "Its reclaim, or `openstack server delete --force SERVER`, removes its attachments.",
        applies=_is_in(SOFT_DELETED),
    ),
    Question(
        "what becomes of the server, whose task has stopped",
        "Nova ends the task of a server only together with its state, as ACTIVE or ERROR, and this server has no host. "
        "If it is not needed any more: `openstack server set --state error SERVER`, then delete it. If it is, only an "
        "edit of Nova's database ends the task alone.",
        codes=("work-never-ends",),
        applies=_has_no_host,
    ),
    Question(
        "which of the two attachments the host uses",
        "Cinder does not show a compute host for one of the attachments, so no host can be asked about it.",
        applies=_has_unknown_host,
    ),
    Question(
        "which of the connected mappings the guest uses",
        "Both name an attachment that Cinder has, or another attachment may be connected through the same host.",
        codes=("mapping-duplicated",),
    ),
    Question(
        "which of the two volumes of a swap the guest writes to",
        "A swap that stopped leaves the guest on a volume that no mapping names. dedangle-nova-compute on the host "
        "proves which disk the guest has.",
        applies=_may_be_swapped,
    ),
    Question(
        "whether the guest uses the disk",
        "Nova's record of the attachment is lost, and the guest may have the disk. dedangle-nova-compute on the host "
        "proves whether it has.",
        codes=("attachment-unknown-to-nova",),
    ),
)


def question(pair: Pair, finding: Finding) -> Question | None:
    """Return the first question that a finding without commands leaves to a person; None if there is none."""
    if finding.next or finding.code not in KINDS:
        return None
    asked = (each for each in QUESTIONS if not each.codes or finding.code in each.codes)
    return next((each for each in asked if each.applies(pair)), None)
