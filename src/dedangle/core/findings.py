# SPDX-License-Identifier: Apache-2.0
"""The table: one row for each finding dedangle can ever report."""

from __future__ import annotations

import dataclasses

from dedangle.core.decisions import Door, Remedy
from dedangle.core.records import StrEnum


class Needs(StrEnum):
    """What a door must have before it may carry the remedy out unattended or under an operator's hand."""

    NEVER = "never"
    """The door only reports it."""
    NOTHING = "nothing"
    GRACE = "grace"
    """The same finding, seen for longer than the grace period."""
    STOPPED = "stopped"
    """The server is stopped or its guest is proved not to have the disk, and its host takes the connection down or is
    left out on the operator's word (--no-host)."""
    NO_GUEST = "no-guest"
    """The server is stopped or has no host, or its guest is proved not to have the disk; the sweep waits its grace
    period too."""
    PROOF = "proof"
    """Every host concerned answered that the server's guest there does not have the disk; the sweep waits too."""
    GUEST_OFF = "guest-off"
    """The door powers the guest off and disconnects the volume from the host first."""
    IN_USE = "in-use"
    """The server is stopped or has no host, its guest is proved to have the disk, or Cinder is the wrong side."""
    PRESENCE = "presence"
    """The server's host proves that the guest has the disk."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """A finding code: what it says, its remedy, and what each door needs for it."""

    code: str
    states: str
    """The rows of the decision table that it covers."""
    sentence: str
    """Takes {server}, {volume}, {attachment}, {work}, {beside}, the attachment that the mapping does not name, and
    {other}, the server that holds the volume too."""
    advice: str = ""
    """What an operator must know before acting, or an alternative; the commands are those of core/exits.py."""
    alternative: str = ""
    """What an operator can do in place of the remedy."""
    remedy: Remedy = Remedy.NONE
    reboot: Needs = Needs.NEVER
    command: Needs = Needs.NEVER
    sweep: Needs = Needs.NEVER

    def needs(self, door: Door) -> Needs:
        return {Door.REBOOT: self.reboot, Door.COMMAND: self.command, Door.SWEEP: self.sweep}[door]


_HARD_REBOOT = (
    "On a host with dedangle-nova-compute a hard reboot removes it too: openstack server reboot --hard {server}."
)
_PROVE = (
    "It is removed once the host proves that the guest does not have the disk, which needs dedangle-nova-compute on "
    "that host."
)
_COMPARE = "Nothing is removed. Compare both sides: dedangle audit --server {server} --all"

TABLE = (
    Kind(
        code="mapping-of-deleted-server",
        states="DN-1, DN-1b",
        sentence="Nova still maps volume {volume} to server {server}, which is deleted.",
        remedy=Remedy.REMOVE_MAPPING,
        command=Needs.NOTHING,
        sweep=Needs.GRACE,
    ),
    Kind(
        code="mapping-never-attached",
        states="DN-4",
        sentence="Nova maps volume {volume} to server {server} without an attachment: the attach ended before Cinder "
        "was asked, and nothing was ever connected.",
        remedy=Remedy.REMOVE_MAPPING,
        reboot=Needs.NOTHING,
        command=Needs.NOTHING,
        sweep=Needs.GRACE,
    ),
    Kind(
        code="mapping-never-launched",
        states="DN-2",
        sentence="Nova maps volume {volume} to server {server}, which failed before its guest ever existed, through "
        "attachment {attachment}, which Cinder does not have.",
        advice="Nova can only delete the server (openstack server delete {server}).",
        remedy=Remedy.REMOVE_MAPPING,
        command=Needs.NO_GUEST,
    ),
    Kind(
        code="mapping-without-attachment",
        states="DN-3a, DN-3b, DN-3c",
        sentence="Nova maps volume {volume} to server {server} through attachment {attachment}, which Cinder does not "
        "have.",
        advice=_HARD_REBOOT,
        alternative="To attach the volume again instead, add --reattach.",
        remedy=Remedy.REMOVE_MAPPING,
        reboot=Needs.GUEST_OFF,
        command=Needs.STOPPED,
    ),
    Kind(
        code="mapping-of-missing-volume",
        states="DN-5",
        sentence="Nova maps volume {volume} to server {server}, and Cinder has neither the volume nor attachment "
        "{attachment}.",
        advice=_HARD_REBOOT,
        remedy=Remedy.REMOVE_MAPPING,
        reboot=Needs.GUEST_OFF,
        command=Needs.STOPPED,
    ),
    Kind(
        code="attachment-of-deleted-server",
        states="DC-1",
        sentence="Cinder keeps attachment {attachment} of volume {volume} for server {server}, which is deleted.",
        remedy=Remedy.REMOVE_ATTACHMENT,
        command=Needs.NOTHING,
        sweep=Needs.GRACE,
    ),
    Kind(
        code="attachment-never-used",
        states="DC-3, DC-4",
        sentence="Cinder keeps volume {volume} reserved for server {server} by attachment {attachment}, which Nova "
        "does not know and nothing was ever connected through.",
        remedy=Remedy.REMOVE_ATTACHMENT,
        reboot=Needs.NOTHING,
        command=Needs.NOTHING,
        sweep=Needs.GRACE,
    ),
    Kind(
        code="attachment-left-by-migration",
        states="DC-2",
        sentence="Cinder keeps attachment {attachment} of volume {volume} on a host that server {server} has left.",
        advice=_PROVE,
        remedy=Remedy.REMOVE_ATTACHMENT,
        reboot=Needs.PROOF,
        command=Needs.PROOF,
        sweep=Needs.PROOF,
    ),
    Kind(
        code="attachment-released-by-nova",
        states="DC-5",
        sentence="Cinder keeps attachment {attachment} of volume {volume} for server {server}, and Nova has let it go.",
        remedy=Remedy.REMOVE_ATTACHMENT,
        reboot=Needs.GUEST_OFF,
        command=Needs.NO_GUEST,
        sweep=Needs.NO_GUEST,
    ),
    Kind(
        code="attachment-unknown-to-nova",
        states="DC-6",
        sentence="Cinder keeps attachment {attachment} of volume {volume} for server {server}, and Nova has no record "
        "that it ever was its own.",
        advice=_PROVE,
        remedy=Remedy.REMOVE_ATTACHMENT,
        reboot=Needs.PROOF,
        command=Needs.PROOF,
        sweep=Needs.PROOF,
    ),
    Kind(
        code="attachment-failed",
        states="DC-7",
        sentence="Cinder keeps attachment {attachment} of volume {volume} for server {server}, whose attach or detach "
        "failed.",
        remedy=Remedy.REMOVE_ATTACHMENT,
        command=Needs.NO_GUEST,
    ),
    Kind(
        code="attachment-shares-host",
        states="DC-2b",
        sentence="No mapping of server {server} names attachment {attachment} of volume {volume}, but another "
        "attachment of the volume may be connected through the same host, and deleting one can unplug the other.",
        advice="Decide which of the two is in use. Stop what uses the volume on that host before you delete the other.",
    ),
    Kind(
        code="attachment-unknown-owner",
        states="DC-9",
        sentence="Cinder keeps attachment {attachment} of volume {volume} for {server}, an id that Nova has no trace "
        "of; it may belong to Ironic, another region or a client of its own.",
        alternative="If you know that it was a server that is deleted and purged, add --assume-deleted.",
        advice="Ask the owner of the volume: openstack --os-volume-api-version 3.27 volume attachment show "
        "{attachment}",
    ),
    Kind(
        code="mapping-names-lost-attachment",
        states="M-1",
        sentence="Nova maps volume {volume} to server {server} through attachment {attachment}, which Cinder does not "
        "have, while Cinder holds another attachment that may be the one in use.",
        advice="If the other attachment is of this volume and the only one, the mapping can name it: --reattach "
        "connects it and compares the connection with the mapping's, --relink does so without the host.",
        remedy=Remedy.RELINK_MAPPING,
        command=Needs.NO_GUEST,
    ),
    Kind(
        code="attach-half-made",
        states="M-2, DN-4b",
        sentence="Nova maps volume {volume} to server {server} without an attachment, while Cinder holds attachment "
        "{attachment} for the two: the attach ended half-way.",
        advice="If the attachment is connected, the mapping can name it where the guest is proved to have the disk, or "
        "the server is stopped.",
        remedy=Remedy.REMOVE_ATTACHMENT,
        command=Needs.NOTHING,
    ),
    Kind(
        code="link-mismatch",
        states="M-3",
        sentence="Nova maps volume {volume} to server {server} through attachment {attachment}, which in Cinder "
        "belongs to another server or volume.",
        advice=_COMPARE,
    ),
    Kind(
        code="migration-half-done",
        states="M-4",
        sentence="Nova maps volume {volume} to server {server} through attachment {attachment}, which is on another "
        "host than the server.",
        advice="If another attachment is connected on the server's host, the mapping can name that one.",
        remedy=Remedy.RELINK_MAPPING,
        command=Needs.IN_USE,
    ),
    Kind(
        code="transition-stuck",
        states="M-5",
        sentence="Volume {volume} of server {server} stays half-way through an attach or detach, with attachment "
        "{attachment} named on both sides.",
        advice="A detach is rolled back where the guest still has the disk. If the guest lacks it, finish the detach "
        "after that: openstack server remove volume {server} {volume}",
        remedy=Remedy.ROLL_BACK_DETACH,
        command=Needs.PRESENCE,
    ),
    Kind(
        code="volume-status-wrong",
        states="M-7",
        sentence="Volume {volume} is attached to server {server} through attachment {attachment} on both sides, but "
        "its status says otherwise.",
        # [dedangle] available_with_attachment = remove gives it the remedy of mapping-without-attachment.
    ),
    Kind(
        code="mapping-without-connection",
        states="M-9",
        sentence="Nova maps volume {volume} to server {server} through attachment {attachment}, as Cinder does, but "
        "has no connection for it, so that a start or a live migration of the server fails.",
    ),
    Kind(
        code="volume-in-use-elsewhere",
        states="DN-3d",
        sentence="Server {server} and server {other} both hold volume {volume}, which is not multi-attach; attachment "
        "{attachment} is the one of server {server}.",
        advice="Stop the server that has no right to the volume before anything else.",
    ),
    Kind(
        code="attachment-lost-in-use",
        states="DN-3c",
        sentence="Nova maps volume {volume} to server {server} through attachment {attachment}, which Cinder does not "
        "have although the volume is in use.",
        advice="Keep the mapping, and attach the volume to no other server. --reattach makes a new attachment for it.",
        remedy=Remedy.RESTORE_ATTACHMENT,
        command=Needs.IN_USE,
    ),
    Kind(
        code="mapping-names-reservation",
        states="M-5",
        sentence="Nova maps volume {volume} to server {server} through attachment {attachment}, which is not "
        "connected, while the volume is connected through attachment {beside}, which no mapping names.",
        advice="The mapping can name the connected attachment if the host proves that the guest has the disk, or the "
        "server is stopped. The other attachment is removed after that.",
        remedy=Remedy.RELINK_MAPPING,
        command=Needs.IN_USE,
    ),
    Kind(
        code="work-never-ends",
        states="F",
        sentence="Work on server {server} does not end: {work}. Nothing of the server is removed while it is open.",
        advice="Look whether anything still works on it (openstack server event list {server}; openstack volume show "
        "{volume}), and end it: openstack server set --state active {server} takes a task_state back, openstack server "
        "migration abort a migration, openstack volume set --state in-use a volume's status.",
    ),
    Kind(
        code="volume-stuck",
        states="M-10",
        sentence="Volume {volume} is {work}, and neither Nova nor Cinder has a row that explains it. Nobody can "
        "attach, detach or delete it.",
        advice="Its status can be reset to available.",
        remedy=Remedy.RESET_STATUS,
        command=Needs.NOTHING,
    ),
    Kind(
        code="disk-without-mapping",
        states="M-11",
        sentence="The guest of server {server} runs with a disk of volume {volume}, which Nova does not map to the "
        "server on that host.",
        advice="Attach the volume to no other server while the guest runs.",
    ),
    Kind(
        code="mapping-duplicated",
        states="M-8",
        sentence="Nova maps volume {volume} to server {server} more than once, or names attachment {attachment} twice.",
        advice="A mapping that was never connected is removed. Of two connected ones decide which the guest uses: "
        "dedangle audit --server {server} --all",
        remedy=Remedy.REMOVE_MAPPING,
        command=Needs.NOTHING,
    ),
)

KINDS = {kind.code: kind for kind in TABLE}
