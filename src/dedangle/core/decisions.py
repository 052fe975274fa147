# SPDX-License-Identifier: Apache-2.0
"""The decision about a pair, and the outcome of carrying it out."""

from __future__ import annotations

import dataclasses
import sys
from datetime import datetime
from typing import NamedTuple

from dedangle.core.records import Attachment, BlockDeviceMapping, Disk, StrEnum, Volume


class Door(StrEnum):
    """Who asked dedangle to look at a server. The door decides what may be done about a finding."""

    REBOOT = "reboot"
    COMMAND = "command"
    SWEEP = "sweep"


class Verdict(StrEnum):
    """The classes of judgement, in the order in which they are tested."""

    CANNOT_TELL = "cannot-tell"
    FOREIGN = "foreign"
    IN_FLIGHT = "in-flight"
    LEGACY = "legacy"
    MISMATCH = "mismatch"
    PROTECTED = "protected"
    CONSISTENT = "consistent"
    DANGLING = "dangling"


class Remedy(StrEnum):
    """The one write that corrects a finding."""

    REMOVE_MAPPING = "remove-mapping"
    REMOVE_ATTACHMENT = "remove-attachment"
    RELINK_MAPPING = "relink-mapping"
    RESTORE_ATTACHMENT = "restore-attachment"
    ROLL_BACK_DETACH = "roll-back-detach"
    RESET_STATUS = "reset-status"
    RESTORE_MAPPING = "restore-mapping"
    """Only undo uses it; no finding has it."""
    NONE = "none"


class Disposition(StrEnum):
    """What a door does about a finding."""

    REMOVE = "remove"
    RELINK = "relink"
    RESTORE = "restore"
    REPORT = "report"
    """Nothing: an operator must decide."""
    WAIT = "wait"
    """Nothing yet: the grace period has not passed, or an operation is in progress."""
    PROTECT = "protect"
    """Nothing, although it looks dangling: a root disk, a legacy mapping, or a row of another service."""

    @property
    def is_change(self) -> bool:
        """Whether the door writes something for it."""
        return self in (Disposition.REMOVE, Disposition.RELINK, Disposition.RESTORE)


class FindingKey(NamedTuple):
    """Identifies a finding across runs. It changes as soon as a row of the finding changes."""

    code: str
    server_id: str
    volume_id: str
    attachment_id: str | None
    bdm_uuid: str | None
    version: str | None
    """The version of the mapping, or the status of the attachment or volume."""

    def __str__(self) -> str:
        return " ".join(part or "-" for part in self)

    @classmethod
    def parse(cls, text: str) -> FindingKey:
        """Return the key that the text stands for; raise ValueError if it is not the text of a key."""
        parts = text.split(" ", len(cls._fields) - 1)
        if len(parts) != len(cls._fields):
            raise ValueError(f"not the key of a finding: {text}")
        # The rows have the same ids, and a sweep keeps both.
        code, server_id, volume_id, *others = map(sys.intern, parts)
        return cls(code, server_id, volume_id, *(None if part == "-" else part for part in others))


class Identity(NamedTuple):
    """Identifies a finding by values that are the same on every machine."""

    code: str
    remedy: str
    server_id: str
    volume_id: str
    attachment_id: str | None
    bdm_uuid: str | None

    def has_rows_of(self, other: Identity) -> bool:
        """Whether both are about the same mapping and attachment, whatever their codes."""
        return self._replace(code=other.code, remedy=other.remedy, server_id=other.server_id) == other


@dataclasses.dataclass(frozen=True, kw_only=True)
class HostSide:
    """What a host reported about a disk, a domain or a connection."""

    host: str
    domain: str | None = None
    """"running", or "defined" if only the domain of the next start has it; None for a connection."""
    target: str = ""
    source: str = ""
    source_kind: str = ""
    wwn: str = ""
    """The WWN of the disk's device as udev writes it; empty if the host does not show one."""

    @classmethod
    def of(cls, host: str, disk: Disk) -> HostSide:
        """Return a disk as the host reported it."""
        domain = "running" if disk.is_running else "defined"
        return cls(
            host=host, domain=domain, target=disk.target, source=disk.source, source_kind=disk.kind, wwn=disk.wwn
        )

    def __str__(self) -> str:
        domain = f"{self.domain} domain" if self.domain else ""
        wwn = f"WWN {self.wwn}" if self.wwn else ""
        return f"{self.host}: " + ", ".join(filter(None, (domain, self.target, self.source_kind, self.source, wwn)))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A pair that is not consistent, or a part of one, with its code and its evidence."""

    code: str
    verdict: Verdict
    remedy: Remedy
    disposition: Disposition
    server_id: str
    volume_id: str
    sentence: str = ""
    """What is wrong, or why the pair is kept: all that is said of findings that were removed."""
    attachment_id: str | None = None
    bdm_uuid: str | None = None
    cell: str | None = None
    host: str | None = None
    project_id: str | None = None
    first_seen: datetime | None = None
    evidence: tuple[str, ...] = ()
    mapping: BlockDeviceMapping | None = None
    attachment: Attachment | None = None
    volume: Volume | None = None
    """Set if the finding is about a volume without a server."""
    is_urgent: bool = False
    """Whether two servers may write to one volume now."""
    advice: str = ""
    """Why the remedy cannot be carried out, or that it can, and what an operator must decide."""
    next: tuple[str, ...] = ()
    """The commands that end the finding, in order; empty if an operator must first decide something."""
    held_on: str | None = None
    """The host through which the attachment to be removed is connected, if it is not the server's host."""
    host_side: tuple[HostSide, ...] | None = None
    """What the hosts that answered report; None if no host was asked or answered."""
    place: str = ""
    """Distinguishes findings that only hosts report: the host and the source."""
    sighted_as: FindingKey | None = None
    """The key under which it was first seen, if its code has changed since."""
    server_name: str | None = dataclasses.field(default=None, compare=False)
    """None if Nova does not know the server, or the server has no name. Tenants choose names."""
    vm_state: str | None = dataclasses.field(default=None, compare=False)
    volume_name: str | None = dataclasses.field(default=None, compare=False)
    """None if only a list of attachments was read, or the volume has no name."""
    volume_size: int | None = dataclasses.field(default=None, compare=False)
    """In GiB; None if only a list of attachments was read."""

    @property
    def identity(self) -> Identity:
        return Identity(self.code, self.remedy.value, self.server_id, self.volume_id, self.attachment_id, self.bdm_uuid)

    @property
    def prose(self) -> str:
        """The reason without the commands that it ends with."""
        return f"{self.sentence} {self.advice}".strip()

    @property
    def reason(self) -> str:
        """What is wrong, what dedangle does about it, and the next command to type."""
        return f"{self.prose} Run: {'; then: '.join(self.next)}" if self.next else self.prose

    @property
    def changed_at(self) -> datetime | None:
        """When one of its rows last changed; None if no row has such a time."""
        moments = (
            self.mapping.changed_at if self.mapping else None,
            self.attachment.attached_at if self.attachment else None,
            self.volume.updated_at if self.volume else None,
        )
        return max((moment for moment in moments if moment), default=None)

    @property
    def key(self) -> FindingKey:
        if self.sighted_as:
            return self.sighted_as
        version = self.mapping.version if self.mapping else self.attachment.status if self.attachment else None
        if self.volume:
            version = self.volume.status
        if self.place:
            version = self.place
        return FindingKey(self.code, self.server_id, self.volume_id, self.attachment_id, self.bdm_uuid, version)


class Result(StrEnum):
    """The outcome of a write."""

    REMOVED = "removed"
    RELINKED = "relinked"
    RESTORED = "restored"
    CHANGED_MEANWHILE = "changed-meanwhile"
    REFUSED = "refused"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """The answer was lost, and reading did not tell either: it may have been done, or be done yet."""

    @property
    def is_done(self) -> bool:
        """Whether the remedy was carried out."""
        return self in (Result.REMOVED, Result.RELINKED, Result.RESTORED)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of a write, with its detail."""

    result: Result
    detail: str = ""
