# SPDX-License-Identifier: Apache-2.0
"""Rows of Nova and Cinder as plain values, and what one system answered."""

from __future__ import annotations

import dataclasses
import enum
from datetime import datetime
from typing import Generic, TypeVar

T = TypeVar("T")


class StrEnum(str, enum.Enum):
    """A member is its own word wherever it is printed or compared."""

    def __str__(self) -> str:
        return str(self.value)


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Why something is not done or not believed; a function that may refuse returns None where it does not."""

    why: str
    """A clause for a message, without a capital or a full stop."""

    def __str__(self) -> str:
        return self.why


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
    updated_at: datetime | None = dataclasses.field(default=None, compare=False)
    """When its row last changed; not compared, because a heartbeat of its host changes it too."""
    name: str | None = dataclasses.field(default=None, compare=False)
    """Its display name, which its tenant chooses; not compared, because a rename changes nothing else."""

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
    updated_at: datetime | None = None
    consumer: str | None = None
    """Who else than Nova marked the volume as theirs in its metadata: glance or ironic."""
    name: str | None = dataclasses.field(default=None, compare=False)
    """Which its tenant chooses."""
    size: int | None = dataclasses.field(default=None, compare=False)
    """In GiB."""

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
    since: datetime | None = None
    """When it began, or last showed any progress; None if its system does not say."""
    volume_id: str | None = None
    """The volume that is worked on; None where the work is on the whole server."""

    def __str__(self) -> str:
        return f"{self.kind} {self.detail}"


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
