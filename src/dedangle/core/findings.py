# SPDX-License-Identifier: Apache-2.0
"""The table of findings: one row for each code that dedangle can report. The file grows by a row for each code."""

from __future__ import annotations

import dataclasses

from dedangle.core.decisions import Door, Remedy
from dedangle.core.records import StrEnum


class Needs(StrEnum):
    """What a door needs before it may carry out the remedy of a finding."""

    NEVER = "never"
    """The door only reports it."""
    NOTHING = "nothing"
    """The door acts without further conditions."""
    GRACE = "grace"
    """The finding has been seen for longer than the grace period."""
    STOPPED = "stopped"
    """The server is stopped, or its host proves that the guest does not have the disk. The host also disconnects the
    volume, unless the operator skips the host (--no-host)."""
    NO_GUEST = "no-guest"
    """The server is stopped or has no host, or its host proves that the guest does not have the disk. The sweep also
    waits for the grace period."""
    PROOF = "proof"
    """Every host concerned proves that the server's guest there does not have the disk. The sweep also waits for the
    grace period."""
    GUEST_OFF = "guest-off"
    """The door powers the guest off and disconnects the volume from the host first."""
    IN_USE = "in-use"
    """The server is stopped or has no host, or its host proves that the guest has the disk, or Cinder has lost
    attachments that are in use."""
    PRESENCE = "presence"
    """The server's host proves that the guest has the disk."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """A finding code with its sentence, its remedy, and what each door needs to carry the remedy out."""

    code: str
    states: str
    """The ids of the states that the code covers; docs/states.md describes each of them."""
    sentence: str
    """What is wrong. Placeholders: {server}, {volume}, {attachment}, {work} (the operations that do not end),
    {statuses} (of the volume and its attachment), {beside} (the attachment that the mapping does not name), {other}
    (the other server that holds the volume), {host}, {source} and {expected} (the source of a disk, and that of the
    mapping), {connection} (of a host)."""
    advice: str = ""
    """What an operator must know before acting. core/exits.py adds the commands."""
    alternative: str = ""
    """What an operator can do instead of the remedy."""
    remedy: Remedy = Remedy.NONE
    reboot: Needs = Needs.NEVER
    command: Needs = Needs.NEVER
    sweep: Needs = Needs.NEVER

    def needs(self, door: Door) -> Needs:
        """Return what the door needs before it may carry out the remedy."""
        return {Door.REBOOT: self.reboot, Door.COMMAND: self.command, Door.SWEEP: self.sweep}[door]


_HARD_REBOOT = (
    "On a host that runs dedangle-nova-compute, a hard reboot also removes it: openstack server reboot --hard {server}."
)
_PROVE = (
    "It can be removed when the host proves that the guest does not have the disk. The proof needs "
    "dedangle-nova-compute on that host."
)
_COMPARE = "Nothing is removed. To compare both sides, run: dedangle audit --server {server} --all"

TABLE = (
    Kind(
        code="mapping-of-deleted-server",
        states="DN-1, DN-1b",
        sentence="Server {server} is deleted, but Nova still maps volume {volume} to it.",
        remedy=Remedy.REMOVE_MAPPING,
        command=Needs.NOTHING,
        sweep=Needs.GRACE,
    ),
    Kind(
        code="mapping-never-attached",
        states="DN-4",
        sentence="Nova maps volume {volume} to server {server} without an attachment. The attach stopped before Nova "
        "called Cinder, so nothing was ever connected.",
        remedy=Remedy.REMOVE_MAPPING,
        reboot=Needs.NOTHING,
        command=Needs.NOTHING,
        sweep=Needs.GRACE,
    ),
    Kind(
        code="mapping-never-launched",
        states="DN-2",
        sentence="Nova maps volume {volume} to server {server} through attachment {attachment}, but Cinder does not "
        "have this attachment. The server failed before its guest was started for the first time.",
        advice="Nova can do nothing with such a server except delete it: openstack server delete {server}.",
        remedy=Remedy.REMOVE_MAPPING,
        command=Needs.NO_GUEST,
    ),
    Kind(
        code="mapping-without-attachment",
        states="DN-3a, DN-3b, DN-3c",
        sentence="Nova maps volume {volume} to server {server} through attachment {attachment}, but Cinder does not "
        "have this attachment.",
        advice=_HARD_REBOOT,
        alternative="To attach the volume again instead, add --reattach.",
        remedy=Remedy.REMOVE_MAPPING,
        reboot=Needs.GUEST_OFF,
        command=Needs.STOPPED,
    ),
    Kind(
        code="mapping-of-missing-volume",
        states="DN-5",
        sentence="Nova maps volume {volume} to server {server}, but Cinder has neither the volume nor attachment "
        "{attachment}.",
        advice="If Cinder's database was restored from a backup, the volume may still exist in the storage backend. "
        "Remove nothing then, and import it with cinder manage. " + _HARD_REBOOT,
        remedy=Remedy.REMOVE_MAPPING,
        reboot=Needs.GUEST_OFF,
        command=Needs.STOPPED,
    ),
    Kind(
        code="attachment-of-deleted-server",
        states="DC-1",
        sentence="Server {server} is deleted, but Cinder still keeps attachment {attachment} of volume {volume} for "
        "it.",
        remedy=Remedy.REMOVE_ATTACHMENT,
        command=Needs.NOTHING,
        sweep=Needs.GRACE,
    ),
    Kind(
        code="attachment-never-used",
        states="DC-3, DC-4",
        sentence="Cinder keeps volume {volume} reserved for server {server} through attachment {attachment}, but Nova "
        "does not know this attachment. Nothing was ever connected through it.",
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
        sentence="Cinder keeps attachment {attachment} of volume {volume} for server {server}, but Nova has deleted "
        "its mapping for it.",
        remedy=Remedy.REMOVE_ATTACHMENT,
        reboot=Needs.GUEST_OFF,
        command=Needs.NO_GUEST,
        sweep=Needs.NO_GUEST,
    ),
    Kind(
        code="attachment-unknown-to-nova",
        states="DC-6",
        sentence="Cinder keeps attachment {attachment} of volume {volume} for server {server}, but Nova has no record "
        "of this attachment.",
        advice=_PROVE,
        remedy=Remedy.REMOVE_ATTACHMENT,
        reboot=Needs.PROOF,
        command=Needs.PROOF,
        sweep=Needs.PROOF,
    ),
    Kind(
        code="attachment-failed",
        states="DC-7",
        sentence="An attach or detach of volume {volume} failed, and Cinder keeps attachment {attachment} for server "
        "{server}.",
        remedy=Remedy.REMOVE_ATTACHMENT,
        command=Needs.NO_GUEST,
    ),
    Kind(
        code="attachment-shares-host",
        states="DC-2b",
        sentence="No mapping of server {server} names attachment {attachment} of volume {volume}. Another attachment "
        "of the volume may be connected through the same host, and deleting one can unplug the other.",
        advice="Stop what uses the volume on that host before you delete one of the two attachments.",
    ),
    Kind(
        code="attachment-unknown-owner",
        states="DC-9",
        sentence="Cinder keeps attachment {attachment} of volume {volume} for server id {server}, but Nova has no "
        "record of this id. It may belong to Ironic, to another region or to another client of Cinder.",
        alternative="If you know that the id was a server that was deleted and purged, add --assume-deleted.",
        advice="Ask the owner of the volume: openstack --os-volume-api-version 3.27 volume attachment show "
        "{attachment}",
    ),
    Kind(
        code="mapping-names-lost-attachment",
        states="M-1",
        sentence="Nova maps volume {volume} to server {server} through attachment {attachment}, but Cinder does not "
        "have this attachment. Cinder has another attachment that may be the one in use.",
        advice="If the other attachment is the only one and belongs to this volume, the mapping can name it. "
        "--reattach connects it and compares the connection with that of the mapping; --relink does not need the host.",
        remedy=Remedy.RELINK_MAPPING,
        command=Needs.NO_GUEST,
    ),
    Kind(
        code="attach-half-made",
        states="M-2, DN-4b",
        sentence="Nova maps volume {volume} to server {server} without an attachment, but Cinder has attachment "
        "{attachment} for them. The attach stopped half-way.",
        advice="If the attachment is connected, the mapping can name it. This needs a stopped server, or proof from "
        "the host that the guest has the disk.",
        remedy=Remedy.REMOVE_ATTACHMENT,
        command=Needs.NOTHING,
    ),
    Kind(
        code="link-mismatch",
        states="M-3",
        sentence="Nova maps volume {volume} to server {server} through attachment {attachment}, but in Cinder this "
        "attachment belongs to another server or volume.",
        advice=_COMPARE,
    ),
    Kind(
        code="migration-half-done",
        states="M-4",
        sentence="Nova maps volume {volume} to server {server} through attachment {attachment}, but this attachment "
        "is connected on another host than the server's.",
        advice="If another attachment is connected on the server's host, the mapping can name that one.",
        remedy=Remedy.RELINK_MAPPING,
        command=Needs.IN_USE,
    ),
    Kind(
        code="transition-stuck",
        states="M-5",
        sentence="An attach or detach of volume {volume} on server {server} stopped half-way: {statuses}.",
        advice="A detach can be rolled back if the guest still has the disk. If the guest does not have it, finish the "
        "detach after the rollback: openstack server remove volume {server} {volume}",
        remedy=Remedy.ROLL_BACK_DETACH,
        command=Needs.PRESENCE,
    ),
    Kind(
        code="volume-status-wrong",
        states="M-7",
        sentence="Nova and Cinder agree that volume {volume} is attached to server {server} through attachment "
        "{attachment}, but the status of the volume does not match.",
        # [dedangle] available_with_attachment = remove gives it the remedy of mapping-without-attachment.
    ),
    Kind(
        code="mapping-without-connection",
        states="M-9",
        sentence="Nova and Cinder agree that volume {volume} is attached to server {server} through attachment "
        "{attachment}, but Nova's mapping has no connection_info. A start or live migration of the server will fail.",
    ),
    Kind(
        code="volume-in-use-elsewhere",
        states="DN-3d",
        sentence="Server {server} and server {other} both hold volume {volume}, which is not multi-attach. Attachment "
        "{attachment} belongs to server {server}.",
        advice="Stop the server that has no right to the volume before anything else.",
    ),
    Kind(
        code="attachment-lost-in-use",
        states="DN-3c",
        sentence="Nova maps volume {volume} to server {server} through attachment {attachment}. The volume is in use, "
        "but Cinder does not have this attachment.",
        advice="Keep the mapping, and attach the volume to no other server. --reattach makes a new attachment for it.",
        remedy=Remedy.RESTORE_ATTACHMENT,
        command=Needs.IN_USE,
    ),
    Kind(
        code="mapping-names-reservation",
        states="M-5",
        sentence="Nova maps volume {volume} to server {server} through attachment {attachment}, which is not "
        "connected. The volume is connected through attachment {beside}, which no mapping names.",
        advice="The mapping can name the connected attachment if the host proves that the guest has the disk, or if "
        "the server is stopped. The other attachment can be removed after that.",
        remedy=Remedy.RELINK_MAPPING,
        command=Needs.IN_USE,
    ),
    Kind(
        code="work-never-ends",
        states="F",
        sentence="Server {server} waits for something that does not end: {work}. Nothing of the server is removed "
        "until it has ended.",
        advice="Check whether anything still works on it: openstack server event list {server}; openstack volume show "
        "{volume}. If not, end it: openstack server set --state active {server} resets the task_state, openstack "
        "server migration abort ends a migration, openstack volume set --state in-use resets the status of a volume, "
        "and cinder reset-state --reset-migration-status its migration_status.",
    ),
    Kind(
        code="volume-stuck",
        states="M-10",
        sentence="Volume {volume} is {work}, but neither Nova nor Cinder has a row that explains this status. Nobody "
        "can attach, detach or delete the volume.",
        advice="Its status can be reset to available.",
        remedy=Remedy.RESET_STATUS,
        command=Needs.NOTHING,
    ),
    Kind(
        code="disk-without-mapping",
        states="M-11",
        sentence="The guest of server {server} runs with a disk of volume {volume}, but Nova does not map the volume "
        "to the server on that host.",
        advice="Attach the volume to no other server while the guest runs. If Nova has no record of the server, and "
        "it does not belong to another cloud, end its guest on the host: virsh -c qemu:///system destroy {server}.",
    ),
    Kind(
        code="disk-source-differs",
        states="M-12",
        sentence="The disk of volume {volume} in the guest of server {server} on host {host} is {source}, but Nova's "
        "mapping connects the volume to {expected}.",
        advice="Compare the two on the host, with ls -l and lsblk. If they are two names of one device, for example "
        "after a live migration, a hard reboot corrects the name. If they are two devices, the guest has the data of "
        "another volume: keep the server running, and move that data before you do anything else.",
    ),
    Kind(
        code="guest-without-server",
        states="M-13",
        sentence="Host {host} has a domain of server {server}, but Nova does not have this server on that host.",
        advice="Check what the domain runs before you end it. If Nova has no record of the server, it may belong to "
        "another cloud.",
    ),
    Kind(
        code="connection-unused",
        states="M-14",
        sentence="Host {host} has {connection} connected, but no guest there uses it.",
        advice="An attach in progress, cinder-volume or the host itself may use it. If nothing uses it, close it on "
        "the host with umount, multipath -f, iscsiadm --logout or nvme disconnect.",
    ),
    Kind(
        code="mapping-duplicated",
        states="M-8",
        sentence="Nova maps volume {volume} to server {server} more than once, or names attachment {attachment} twice.",
        advice="A mapping that was never connected, or whose attachment Cinder does not have, can be removed. Another "
        "mapping keeps the volume.",
        remedy=Remedy.REMOVE_MAPPING,
        command=Needs.NOTHING,
    ),
)

KINDS = {kind.code: kind for kind in TABLE}
