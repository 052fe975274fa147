# SPDX-License-Identifier: Apache-2.0
"""Rows of Nova and Cinder as plain values, and the answer of one system.

The file is long because each field says what it means and what an empty one means. It decides nothing.
"""

from __future__ import annotations

import dataclasses
import enum
from datetime import datetime
from typing import Generic, TypeVar

T = TypeVar("T")
SHUTDOWN = 4
"""The power_state of a guest that is off (nova/compute/power_state.py)."""
SOFT_DELETED = "soft-delete"
"""The vm_state of a deleted server that Nova can still restore (nova/compute/vm_states.py)."""
UNCLAIMABLE = ("error", SOFT_DELETED)
"""The vm_states in which nova-compute does not clear a left task_state when it starts (compute/claim.py)."""


class StrEnum(str, enum.Enum):
    """An enum whose members are strings, as the StrEnum of Python 3.11."""

    def __str__(self) -> str:
        return str(self.value)


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Why something is not done or not trusted. A function that may refuse returns None if it does not."""

    why: str
    """A clause for a message, without a capital letter at the start or a full stop at the end."""

    def __str__(self) -> str:
        return self.why


class Existence(StrEnum):
    """What Nova knows about a server id."""

    LIVE = "live"
    DELETED = "deleted"
    BUILDING = "building"
    UNKNOWN = "unknown"


class HostState(StrEnum):
    """The state of the nova-compute of a server's host, from Nova's table `services`."""

    UP = "up"
    DOWN = "down"
    GONE = "gone"
    """The host no longer has a nova-compute service record."""
    NONE = "none"
    """The server has no host."""


@dataclasses.dataclass(frozen=True)
class Reading(Generic[T]):
    """The answer of one system. A row that is missing from an incomplete reading proves nothing."""

    rows: tuple[T, ...] = ()
    complete: bool = True
    why: str = ""

    @classmethod
    def unread(cls, why: str) -> Reading[T]:
        return cls(complete=False, why=why)

    @property
    def absent(self) -> bool:
        """Whether the system answered that there are no rows."""
        return self.complete and not self.rows


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
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
    updated_at: datetime | None = dataclasses.field(default=None, compare=False)
    """When its row last changed. Not compared, because its host also updates it regularly."""
    name: str | None = dataclasses.field(default=None, compare=False)
    """Its display name, which the tenant chooses. Not compared, because a rename changes nothing else."""

    @property
    def is_stopped(self) -> bool:
        # vm_state alone is only the requested state. Nova powers a server off
        # when it is shelved, or deleted with a reclaim_instance_interval, and keeps it like a stopped one until then.
        is_off = self.vm_state in ("stopped", "shelved", SOFT_DELETED)
        return is_off and self.power_state == SHUTDOWN and self.task_state is None

    @property
    def can_be_stopped(self) -> bool:
        """Whether a stop and a start return the server to its current state."""
        return self.vm_state == "active" and self.task_state is None and self.host is not None

    @property
    def is_rebooted_at_once(self) -> bool:
        """Whether a hard reboot is allowed, and takes nothing from the server but its running programs."""
        return self.vm_state in ("active", "error") and self.task_state is None and self.host is not None

    @property
    def may_still_run(self) -> bool:
        """Whether the guest of a deleted server may still run."""
        # When nova-compute deletes a server, power_state becomes NOSTATE (0). If the host is down, nova-api deletes it
        # and does not change power_state (compute/api.py:_local_delete_cleanup).
        return self.deleted and self.host is not None and self.power_state not in (None, 0, 4)

    @property
    def may_have_guest(self) -> bool:
        """Whether its guest may run: the server is live, has a host, and is not proved to be stopped."""
        return not self.deleted and self.host is not None and not self.is_stopped

    @property
    def is_without_host(self) -> bool:
        """Whether the server has no host, so that `reserved` is the normal status of its attachments."""
        return not self.host and self.vm_state in ("shelved_offloaded", "error")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BlockDeviceMapping:
    """A row of Nova's `block_device_mapping` with destination_type volume, without its connection_info."""

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
    """When the row was last updated, as text of its database. A different value means that the row has changed."""
    changed_at: datetime | None = None
    """When the row was last created, updated or deleted; None if it has no such time."""
    deleted: bool = False

    @property
    def is_connected(self) -> bool:
        """Whether the mapping names an attachment or has a connection_info."""
        return self.attachment_id is not None or self.has_connection_info

    @property
    def is_bootable(self) -> bool:
        """Whether it has a place in the boot order; Nova also uses -1 for none."""
        return self.boot_index is not None and self.boot_index >= 0

    @property
    def is_legacy(self) -> bool:
        """Whether it was attached before Nova used Cinder's attachments (Queens): connected without an id."""
        return self.attachment_id is None and self.has_connection_info


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Attachment:
    """A live row of Cinder's `volume_attachment`, without its connection_info and connector."""

    id: str
    server_id: str | None
    volume_id: str
    status: str
    attached_at: datetime | None = None
    """None if it was never attached, or if it was read from a list, which does not have this field."""
    has_connection_info: bool | None = None
    """None if it was read from a list, which does not have this field."""

    @property
    def is_unconnected(self) -> bool:
        """Whether Cinder shows that it was completed without ever being connected through a host."""
        return self.status == "attached" and self.has_connection_info is False

    @property
    def is_reserved(self) -> bool:
        """Whether it was never connected. Its deletion needs no backend (cinder volume/api.py:attachment_delete)."""
        return self.status == "reserved" and not self.has_connection_info


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Volume:
    """A volume as Cinder returns it to an administrator."""

    id: str
    status: str
    project_id: str | None = None
    migration_status: str | None = None
    multiattach: bool = False
    hosts: tuple[tuple[str, str], ...] = ()
    """(attachment id, host) of each `attached` attachment, as Cinder returns them to an administrator."""
    updated_at: datetime | None = None
    consumer: str | None = None
    """Another service than Nova that owns the volume by its metadata: glance or ironic."""
    name: str | None = dataclasses.field(default=None, compare=False)
    """The name, which the tenant chooses."""
    size: int | None = dataclasses.field(default=None, compare=False)
    """In GiB."""
    origin: str | None = dataclasses.field(default=None, compare=False)
    """What the volume is for, as its metadata says: a clause whose subject is the volume. Tenants choose the names."""

    def host_of(self, attachment_id: str) -> str | None:
        return dict(self.hosts).get(attachment_id)

    def is_of_backup(self, mapping: BlockDeviceMapping) -> bool:
        """Whether Cinder's row of the volume is older than the mapping, so that it came back from a backup.

        Cinder changes the row in the attach that follows the mapping, and again if the attachment is deleted or reset.
        """
        if self.updated_at is None or mapping.created_at is None:
            return False
        return mapping.has_connection_info and self.updated_at < mapping.created_at


@dataclasses.dataclass(frozen=True, kw_only=True)
class Disk:
    """A `<disk>` of a volume in a guest's domain, in the running one or in that of the next start."""

    volume_id: str
    """Its serial. After a volume swap the running guest still has the serial of the old volume."""
    source: str
    """Its source in the domain: a device path, an RBD image or a file. Never a secret."""
    is_running: bool
    """Whether the running domain has it; False if only the domain of the next start has it."""
    is_recognised: bool
    """Whether Nova's live or deleted mapping of that volume connects to this source."""
    target: str = dataclasses.field(default="", compare=False)
    """The name of the disk in the domain, such as vdb."""
    kind: str = dataclasses.field(default="", compare=False)
    """The type of its source in the domain: block, file, or network with the protocol."""
    wwn: str = dataclasses.field(default="", compare=False)
    """The WWN of its device as udev writes it; empty if the host does not show one."""
    expected: str = dataclasses.field(default="", compare=False)
    """The source of the volume's live mapping, if the host can compare it and it differs from `source`."""

    @property
    def place(self) -> str:
        """The source with its WWN, for people."""
        return f"{self.source} (WWN {self.wwn})" if self.wwn else self.source


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guest:
    """A domain on a host, identified by the id of its server."""

    server_id: str
    is_running: bool = True
    """Whether the domain is active; False if it is only defined."""
    is_novas: bool = True
    """Whether Nova created the domain, according to its metadata."""
    disks: tuple[Disk, ...] = ()
    why: str = ""
    """Why not all disks could be read; empty if they were."""

    @property
    def reading(self) -> Reading[Disk]:
        return Reading(self.disks, not self.why, self.why)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HostConnection:
    """A connection of a host to storage."""

    kind: str
    """iscsi, multipath, nvme or mount."""
    name: str
    """The target and LUN, the map, the subsystem or the mount point; never a secret."""
    devices: tuple[str, ...] = ()
    """Its block devices, as /sys/block names them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Marker:
    """A sign of an operation in progress on the server or one of its volumes."""

    kind: str
    detail: str
    since: datetime | None = None
    """When it started or last showed progress; None if that is not known."""
    volume_id: str | None = None
    """The volume of the operation; None if it concerns the whole server."""

    def __str__(self) -> str:
        return f"{self.kind} {self.detail}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Link:
    """A mapping of another server with an attachment, to check that Cinder has the attachments that Nova names."""

    server_id: str
    volume_id: str
    attachment_id: str
    cell: str
    number: int
    """The primary key of the mapping; a higher one in the same cell is newer."""
    project_id: str | None
    """None if the server has no live row."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NamedServer:
    """A live server that was found by name. The tenant chooses its names."""

    id: str
    cell: str
    project_id: str
    vm_state: str
    names: tuple[str, str]
    """(display name, host name)"""
