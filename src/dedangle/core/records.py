# SPDX-License-Identifier: Apache-2.0
"""The nouns of the design, as plain values; all of them in one file, for each is said in terms of the others."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable
from collections.abc import Mapping as MappingType
from datetime import datetime
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class StrEnum(str, enum.Enum):
    """A member is its own word wherever it is printed or compared."""

    def __str__(self) -> str:
        return str(self.value)


class Door(StrEnum):
    """Who wants a server looked at; a door decides what may be done about what is found."""

    REBOOT = "reboot"
    COMMAND = "command"
    SWEEP = "sweep"


class Existence(StrEnum):
    """What Nova knows of a server id."""

    LIVE = "live"
    DELETED = "deleted"
    BUILDING = "building"
    UNKNOWN = "unknown"


class HostState(StrEnum):
    """What Nova's `services` tell of the nova-compute of a server's host."""

    UP = "up"
    DOWN = "down"
    GONE = "gone"
    """The host has no nova-compute service record any more."""
    NONE = "none"
    """The server has no host."""


class Verdict(StrEnum):
    """The classes of judgement, in the order in which they are asked for."""

    CANNOT_TELL = "cannot-tell"
    FOREIGN = "foreign"
    IN_FLIGHT = "in-flight"
    LEGACY = "legacy"
    MISMATCH = "mismatch"
    PROTECTED = "protected"
    CONSISTENT = "consistent"
    DANGLING = "dangling"


class Remedy(StrEnum):
    """The one write that would put a finding right."""

    REMOVE_MAPPING = "remove-mapping"
    REMOVE_ATTACHMENT = "remove-attachment"
    RELINK_MAPPING = "relink-mapping"
    RESTORE_MAPPING = "restore-mapping"
    """Undo alone: no finding calls for it."""
    NONE = "none"


class Disposition(StrEnum):
    """What a door does about a finding."""

    REMOVE = "remove"
    RELINK = "relink"
    REPORT = "report"
    """Nothing: an operator has to decide."""
    WAIT = "wait"
    """Nothing yet: the grace period runs, or something is in flight."""
    PROTECT = "protect"
    """Nothing, though it looks dangling: a root disk, a legacy mapping, somebody else's."""


@dataclasses.dataclass(frozen=True)
class Reading(Generic[T]):
    """What one system answered; rows that are missing from an incomplete reading prove nothing."""

    rows: tuple[T, ...] = ()
    complete: bool = True
    why: str = ""

    @classmethod
    def unread(cls, why: str) -> Reading[T]:
        return cls(complete=False, why=why)

    @property
    def absent(self) -> bool:
        """Whether the system said that there is nothing, rather than nothing at all."""
        return self.complete and not self.rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class Server:
    """A row of Nova's `instances` (or `shadow_instances`), in the cell where it was found."""

    id: str
    cell: str
    project_id: str
    host: str | None = None
    vm_state: str | None = None
    task_state: str | None = None
    power_state: int | None = None
    deleted: bool = False
    hidden: bool = False
    image_ref: str | None = None
    root_device_name: str | None = None
    launched_at: datetime | None = None
    deleted_at: datetime | None = None

    @property
    def is_stopped(self) -> bool:
        # Nova's nova.compute.power_state.SHUTDOWN is 4: vm_state alone is only what was asked for.
        return self.vm_state == "stopped" and self.power_state == 4 and self.task_state is None

    @property
    def can_be_stopped(self) -> bool:
        """Whether Nova's stop and start bring it back to where it was."""
        return self.vm_state == "active" and self.task_state is None and self.host is not None

    @property
    def may_still_run(self) -> bool:
        """Whether a deleted server's guest may be alive."""
        # nova-compute deletes with power_state NOSTATE (0); nova-api, which deletes alone where a host is down, leaves
        # what it was (compute/api.py:_local_delete_cleanup).
        return self.deleted and self.host is not None and self.power_state not in (None, 0, 4)

    @property
    def may_have_guest(self) -> bool:
        """Whether a guest of it may run: it is alive, is on a host and was not seen to be off."""
        return not self.deleted and self.host is not None and not self.is_stopped

    @property
    def is_without_host(self) -> bool:
        """Whether `reserved` attachments are the healthy, permanent state of the server."""
        return not self.host and self.vm_state in ("shelved_offloaded", "error")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlockDeviceMapping:
    """A row of Nova's `block_device_mapping` with destination_type volume; never its connection_info."""

    id: int
    uuid: str | None
    cell: str
    server_id: str
    volume_id: str
    attachment_id: str | None
    has_connection_info: bool
    source_type: str | None = None
    boot_index: int | None = None
    device_name: str | None = None
    created_at: datetime | None = None
    version: str | None = None
    """When the row was last updated, as its database writes it: another value is another version of the row."""
    changed_at: datetime | None = None
    """When the row was last created, updated or deleted; None if it has no such time."""
    deleted: bool = False

    @property
    def is_connected(self) -> bool:
        """Whether Nova ever named an attachment for it or connected it."""
        return self.attachment_id is not None or self.has_connection_info

    @property
    def is_bootable(self) -> bool:
        """Whether it has a place in the order in which the guest tries its disks; Nova writes -1 for none too."""
        return self.boot_index is not None and self.boot_index >= 0

    @property
    def is_legacy(self) -> bool:
        """Whether it was attached before Nova used Cinder's attachments (Queens): no id, but connected."""
        return self.attachment_id is None and self.has_connection_info


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attachment:
    """A live row of Cinder's `volume_attachment`; never its connection_info or connector."""

    id: str
    server_id: str | None
    volume_id: str
    status: str
    attached_at: datetime | None = None
    """None where only the list was read, which does not say, or where it never was."""
    has_connection_info: bool | None = None
    """None where only the list was read, which does not say."""

    @property
    def is_reserved(self) -> bool:
        """Whether nothing was ever connected: deleting it asks no backend (cinder volume/api.py:attachment_delete)."""
        return self.status == "reserved" and not self.has_connection_info


@dataclasses.dataclass(frozen=True, kw_only=True)
class Volume:
    """A volume as Cinder shows it to an administrator."""

    id: str
    status: str
    project_id: str | None = None
    migration_status: str | None = None
    multiattach: bool = False
    hosts: tuple[tuple[str, str], ...] = ()
    """(attachment id, host) of each `attached` attachment, as Cinder shows them to an administrator."""
    consumer: str | None = None
    """Who else than Nova marked the volume as theirs in its metadata: glance or ironic."""

    def host_of(self, attachment_id: str) -> str | None:
        return dict(self.hosts).get(attachment_id)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Disk:
    """A `<disk>` of a guest's domain that a volume is behind, running or for its next start."""

    volume_id: str
    """Its serial. A swap under a running guest leaves the serial of the volume that was there before."""
    source: str
    """What is behind it, as the domain names it: a device path, an RBD image, a file. Never a secret."""
    is_running: bool
    """Whether the running domain has it; False: only the domain of the next start has it."""
    is_recognised: bool
    """Whether the source is what Nova's block device mapping of that volume, live or deleted, connects to."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Marker:
    """A sign that somebody is working on the server or one of its volumes."""

    kind: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind} {self.detail}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class NovaView:
    """What Nova said of one server id, from every cell."""

    server_id: str
    servers: tuple[Server, ...] = ()
    mappings: tuple[BlockDeviceMapping, ...] = ()
    tombstones: tuple[BlockDeviceMapping, ...] = ()
    building: bool = False
    markers: tuple[Marker, ...] = ()
    host_state: HostState = HostState.NONE
    last_action_at: datetime | None = None
    live_migration_failed_at: datetime | None = None
    """When the newest live migration that failed was last updated; None if none failed."""
    unread: tuple[str, ...] = ()
    """One sentence for each part of Nova that did not answer."""

    @property
    def complete(self) -> bool:
        return not self.unread


@dataclasses.dataclass(frozen=True, kw_only=True)
class Link:
    """A mapping of another server that names an attachment, read to see whether Cinder has what Nova names."""

    server_id: str
    volume_id: str
    attachment_id: str
    cell: str
    number: int
    """The primary key of the mapping: a greater one in the same cell was made later."""
    project_id: str | None
    """None where the server has no live row."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NamedServer:
    """A live server that was looked for by name; its names are its tenant's words."""

    id: str
    cell: str
    project_id: str
    vm_state: str
    names: tuple[str, str]
    """(display name, host name)"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CinderView:
    """What Cinder said of one server id and of the volumes in question."""

    attachments: Reading[Attachment]
    volumes: MappingType[str, Reading[Volume]] = dataclasses.field(default_factory=dict)
    """By volume id; no rows in a complete reading: Cinder answered that it has no such volume."""
    of_volumes: MappingType[str, Reading[Attachment]] = dataclasses.field(default_factory=dict)
    """All attachments of a volume, whoever holds them."""
    named: MappingType[str, Reading[Attachment]] = dataclasses.field(default_factory=dict)
    """By attachment id: what the mappings name and the list of the server lacks."""

    def readings(self) -> list[Reading[Any]]:
        return [self.attachments, *self.volumes.values(), *self.of_volumes.values(), *self.named.values()]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Observation:
    """One server, read in the order Nova, Cinder, Nova.

    A mapping of `before` whose attachment Cinder lacked was there first, and an attachment that no mapping of `after`
    names was there first too: neither order of reading alone is safe for both (attach writes the mapping, then the
    attachment, then the mapping again).
    """

    server_id: str
    before: NovaView
    cinder: CinderView
    after: NovaView
    other_servers_bdms: Reading[BlockDeviceMapping] = dataclasses.field(default_factory=Reading)
    """Mappings, live and soft-deleted, that other servers have of the volumes in question."""
    other_servers: Reading[Server] = dataclasses.field(default_factory=Reading)
    """The other servers that hold attachments or live mappings of the volumes, as far as Nova knows them."""
    guests: MappingType[str, Reading[Disk]] = dataclasses.field(default_factory=dict)
    """By host that was asked: the disks of the server's guest there; none where the host has no such guest."""
    askable_hosts: frozenset[str] = frozenset()
    """Those of the hosts that run dedangle, or time out and may run it: their proof can be waited for."""
    host_acts: bool = False
    """Whether the server's own host carries removals out, under the instance lock, with what they take down there."""
    cinder_is_behind: tuple[str, ...] = ()
    """Facts that show that Cinder has lost attachments which are in use; its word of absence proves nothing then."""
    nova_is_behind: tuple[str, ...] = ()
    """Facts that show that Nova has lost mappings which are in use."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerState:
    """What is true of the whole server while its pairs are judged."""

    server_id: str
    server: Server | None
    existence: Existence
    host_state: HostState
    markers: tuple[Marker, ...]
    unread: tuple[str, ...]
    last_action_at: datetime | None
    lost: frozenset[str]
    """Attachment ids that live mappings name and Cinder answered not to have."""
    unproved: frozenset[str]
    """Attachment ids that live mappings name and that are not, in Cinder, of the server and the mapping's volume."""
    unmapped: frozenset[str]
    """Ids of the server's attachments that no live mapping names, those of legacy mappings left out."""
    only_volume: str | None
    """The volume of the only live mapping, or of the only one that was ever connected."""
    twice_named: frozenset[str]
    """Attachment ids that more than one live mapping names."""
    guests: MappingType[str, Reading[Disk]]
    """By host: the disks of the server's guest there; none where the host has no such guest."""
    askable_hosts: frozenset[str]
    host_acts: bool
    """Whether the server's own host carries removals out."""
    cinder_is_behind: tuple[str, ...]
    nova_is_behind: tuple[str, ...]
    live_migration_failed_at: datetime | None

    def failed_to_migrate_since(self, moment: datetime | None) -> bool:
        """Whether a live migration failed after the mapping last changed.

        The rollback of one that failed early deletes the attachments of the source, which the guest goes on using
        (bug 1889108), and writes the mappings before it marks the migration.
        """
        failed = self.live_migration_failed_at
        return failed is not None and (moment is None or failed >= moment)

    @property
    def may_write(self) -> bool:
        """Whether the server may have a guest that runs now; a server that is not known may."""
        return self.server is None or self.server.may_have_guest

    def has_answered(self, host: str) -> bool:
        """Whether the host told all disks of the server's guest there."""
        reading = self.guests.get(host)
        return reading is not None and reading.complete

    def hosts_with_disk(self, volume_id: str, *, unexpected: bool = False) -> tuple[str, ...]:
        """The hosts on which a running guest of the server is seen to have the volume, in order.

        With `unexpected` also those with a disk that Nova's mappings do not explain, where no guest of the server is
        expected to run: its serial may be an old one, and the volume may be behind it.
        """
        return tuple(
            host
            for host in sorted(self.guests)
            if self.has_answered(host)
            and any(
                disk.volume_id == volume_id
                or (unexpected and not disk.is_recognised and not self._is_expected_on(host))
                for disk in self.guests[host].rows
                if disk.is_running
            )
        )

    def _is_expected_on(self, host: str) -> bool:
        return self.server is not None and self.server.may_have_guest and self.server.host == host

    def guest_lacks(self, volume_id: str, hosts: Iterable[str | None]) -> bool:
        """Whether every one of the hosts proved that no guest of the server there uses the volume.

        A disk whose source is not what its volume's mapping connects to spoils the proof: after a swap the running
        guest still shows the serial of the volume before (nova virt/libvirt/driver.py:_swap_volume changes what is
        behind the disk, not its serial). A rescued or suspended server proves nothing: its domain is not the one that
        it goes on with (unrescue, in the same file, starts the one that was there before).
        """
        if self.server is not None and self.server.vm_state in ("rescued", "suspended"):
            return False
        asked = set(hosts)
        for host in asked:
            reading = self.guests.get(host or "")
            if reading is None or not reading.complete:
                return False
            if any(disk.volume_id == volume_id or not disk.is_recognised for disk in reading.rows):
                return False
        return bool(asked)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """Mapping and attachment joined for one (server, volume)."""

    server_state: ServerState
    volume_id: str
    mappings: tuple[BlockDeviceMapping, ...] = ()
    tombstones: tuple[BlockDeviceMapping, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    volume: Reading[Volume]
    others: Reading[Attachment]
    """Attachments of the volume that other servers hold."""
    other_servers_bdms: Reading[BlockDeviceMapping] = dataclasses.field(default_factory=Reading)
    """Live mappings of the volume that other servers have."""
    other_servers: Reading[Server] = dataclasses.field(default_factory=Reading)
    """The other servers that hold those, as far as Nova knows them."""
    released: frozenset[str] = frozenset()
    """Ids of attachments that a soft-deleted mapping of another server names: Nova has let them go."""
    named: MappingType[str, Reading[Attachment]] = dataclasses.field(default_factory=dict)

    @property
    def other_claimants(self) -> tuple[str, ...]:
        """The other servers that a live mapping or an attachment gives the volume, in order.

        Left out are those that Nova knows to be deleted, and those whose only mapping is a tombstone that names the
        attachment: Nova has let it go. Each of them has a finding of its own.
        """
        mapped = {each.server_id for each in self.other_servers_bdms.rows}
        held = {
            each.server_id
            for each in self.others.rows
            if each.server_id and not (self.other_servers_bdms.complete and each.id in self.released)
        }
        return tuple(sorted(each for each in mapped | held if not self._is_deleted(each)))

    @property
    def other_writers(self) -> tuple[str, ...]:
        """Those of them that may have a running guest: a server that is off, or never had a guest, does not write."""
        off = {each.id for each in self.other_servers.rows if not each.deleted and not each.may_have_guest}
        return tuple(each for each in self.other_claimants if each not in off)

    def _is_deleted(self, server_id: str) -> bool:
        found = [each.deleted for each in self.other_servers.rows if each.id == server_id]
        return bool(found) and all(found)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """A pair that is not consistent, or a part of one, with its code and its evidence."""

    code: str
    verdict: Verdict
    remedy: Remedy
    disposition: Disposition
    server_id: str
    volume_id: str
    reason: str
    """What is wrong and what comes next, the next command to type included."""
    sentence: str = ""
    """What is wrong alone: for the log and for what was removed."""
    attachment_id: str | None = None
    bdm_uuid: str | None = None
    cell: str | None = None
    host: str | None = None
    project_id: str | None = None
    first_seen: datetime | None = None
    evidence: tuple[str, ...] = ()
    mapping: BlockDeviceMapping | None = None
    attachment: Attachment | None = None
    is_urgent: bool = False
    """Whether two servers may write to one volume now."""
    advice: str = ""
    """What stands in the way, or that nothing does, and the next command to type: the second half of the reason."""
    sighted_as: str = ""
    """The key under which it was first seen, where it has taken another code since."""

    @property
    def identity(self) -> tuple[str | None, ...]:
        """What it is about, in words that another machine uses too."""
        return (self.code, self.remedy.value, self.server_id, self.volume_id, self.attachment_id, self.bdm_uuid)

    @property
    def key(self) -> str:
        """The same for the same finding in every run, and another one as soon as a row of it has changed."""
        if self.sighted_as:
            return self.sighted_as
        version = self.mapping.version if self.mapping else self.attachment.status if self.attachment else ""
        return " ".join(
            str(part or "-")
            for part in (self.code, self.server_id, self.volume_id, self.attachment_id, self.bdm_uuid, version)
        )


class Result(StrEnum):
    """What came of an action."""

    REMOVED = "removed"
    RELINKED = "relinked"
    RESTORED = "restored"
    CHANGED_MEANWHILE = "changed-meanwhile"
    REFUSED = "refused"
    FAILED = "failed"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a write that was tried."""

    result: Result
    detail: str = ""
