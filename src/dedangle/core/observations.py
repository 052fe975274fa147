# SPDX-License-Identifier: Apache-2.0
"""What Nova, Cinder and the hosts answered about one server."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping as MappingType
from datetime import datetime
from typing import Any

from dedangle.core.records import Attachment, BlockDeviceMapping, Disk, HostState, Marker, Reading, Server, Volume


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
