# SPDX-License-Identifier: Apache-2.0
"""What is decided about a pair, and the outcome of carrying it out."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import NamedTuple

from dedangle.core.records import Attachment, BlockDeviceMapping, StrEnum, Volume


class Door(StrEnum):
    """Who wants a server looked at; a door decides what may be done about what is found."""

    REBOOT = "reboot"
    COMMAND = "command"
    SWEEP = "sweep"


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
    RESTORE_ATTACHMENT = "restore-attachment"
    ROLL_BACK_DETACH = "roll-back-detach"
    RESET_STATUS = "reset-status"
    RESTORE_MAPPING = "restore-mapping"
    """Undo alone: no finding calls for it."""
    NONE = "none"


class Disposition(StrEnum):
    """What a door does about a finding."""

    REMOVE = "remove"
    RELINK = "relink"
    RESTORE = "restore"
    REPORT = "report"
    """Nothing: an operator has to decide."""
    WAIT = "wait"
    """Nothing yet: the grace period runs, or something is in flight."""
    PROTECT = "protect"
    """Nothing, though it looks dangling: a root disk, a legacy mapping, somebody else's."""

    @property
    def is_change(self) -> bool:
        """Whether the door writes something for it."""
        return self in (Disposition.REMOVE, Disposition.RELINK, Disposition.RESTORE)


class FindingKey(NamedTuple):
    """Names a finding across runs: the same in every run, and another one as soon as a row of it has changed."""

    code: str
    server_id: str
    volume_id: str
    attachment_id: str | None
    bdm_uuid: str | None
    version: str | None
    """Of the mapping, or the status of the attachment."""

    def __str__(self) -> str:
        return " ".join(part or "-" for part in self)

    @classmethod
    def parse(cls, text: str) -> FindingKey:
        """Return the key whose text it is; raises ValueError."""
        parts = text.split(" ", len(cls._fields) - 1)
        if len(parts) != len(cls._fields):
            raise ValueError(f"not the key of a finding: {text}")
        code, server_id, volume_id, *others = parts
        return cls(code, server_id, volume_id, *(None if part == "-" else part for part in others))


class Identity(NamedTuple):
    """Names a finding in terms that another machine uses too."""

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
    volume: Volume | None = None
    """Where the finding is about the volume alone."""
    is_urgent: bool = False
    """Whether two servers may write to one volume now."""
    advice: str = ""
    """What stands in the way, or that nothing does: the second half of the reason."""
    next: tuple[str, ...] = ()
    """The commands of one complete way out, in order; none where the decision is outside of dedangle."""
    sighted_as: FindingKey | None = None
    """The key under which it was first seen, where it has taken another code since."""
    server_name: str | None = dataclasses.field(default=None, compare=False)
    """None if Nova does not know the server, or gives it no name. Names are their tenant's words."""
    vm_state: str | None = dataclasses.field(default=None, compare=False)
    volume_name: str | None = dataclasses.field(default=None, compare=False)
    """None if only a list of attachments was read, or the volume has no name."""
    volume_size: int | None = dataclasses.field(default=None, compare=False)
    """In GiB; None if only a list of attachments was read."""

    @property
    def identity(self) -> Identity:
        return Identity(self.code, self.remedy.value, self.server_id, self.volume_id, self.attachment_id, self.bdm_uuid)

    @property
    def changed_at(self) -> datetime | None:
        """When one of its rows last changed; None if neither side tells."""
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
        return FindingKey(self.code, self.server_id, self.volume_id, self.attachment_id, self.bdm_uuid, version)


class Result(StrEnum):
    """What came of an action."""

    REMOVED = "removed"
    RELINKED = "relinked"
    RESTORED = "restored"
    CHANGED_MEANWHILE = "changed-meanwhile"
    REFUSED = "refused"
    FAILED = "failed"

    @property
    def is_done(self) -> bool:
        """Whether the remedy was carried out."""
        return self in (Result.REMOVED, Result.RELINKED, Result.RESTORED)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a write that was tried."""

    result: Result
    detail: str = ""
