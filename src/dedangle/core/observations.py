# SPDX-License-Identifier: Apache-2.0
"""What Nova, Cinder and the hosts answered about one server."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping as MappingType
from datetime import datetime
from typing import Any

from dedangle.core.records import Attachment, BlockDeviceMapping, Disk, HostState, Marker, Reading, Server, Volume


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class NovaView:
    """The answer of Nova about one server id, from every cell."""

    server_id: str
    servers: tuple[Server, ...] = ()
    mappings: tuple[BlockDeviceMapping, ...] = ()
    tombstones: tuple[BlockDeviceMapping, ...] = ()
    building: bool = False
    requested_at: datetime | None = None
    """When the build was requested; None if it has ended, or the time is not known."""
    markers: tuple[Marker, ...] = ()
    host_state: HostState = HostState.NONE
    host_down_since: datetime | None = None
    """The last report of the server's host that is down; None if it is not down, or never reported."""
    last_action_at: datetime | None = None
    live_migration_failed_at: datetime | None = None
    """When the newest failed live migration was last updated; None if none failed."""
    unread: tuple[str, ...] = ()
    """One sentence for each part of Nova that did not answer."""

    @property
    def complete(self) -> bool:
        return not self.unread


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CinderView:
    """The answer of Cinder about one server id and the volumes in question."""

    attachments: Reading[Attachment]
    volumes: MappingType[str, Reading[Volume]] = dataclasses.field(default_factory=dict)
    """By volume id; a complete reading without rows means that Cinder has no such volume."""
    of_volumes: MappingType[str, Reading[Attachment]] = dataclasses.field(default_factory=dict)
    """By volume id: all its attachments, of any server."""
    named: MappingType[str, Reading[Attachment]] = dataclasses.field(default_factory=dict)
    """By attachment id: attachments that the mappings name and the server's list does not have."""

    def readings(self) -> list[Reading[Any]]:
        return [self.attachments, *self.volumes.values(), *self.of_volumes.values(), *self.named.values()]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """One server, read in the order Nova, Cinder, Nova.

    An attach writes the mapping, then the attachment, then the mapping again. So only a mapping of `before` can prove
    that its attachment is missing, and only the mappings of `after` can prove that none of them names an attachment.
    """

    server_id: str
    before: NovaView
    cinder: CinderView
    after: NovaView
    other_servers_bdms: Reading[BlockDeviceMapping] = dataclasses.field(default_factory=Reading)
    """Mappings of the volumes in question, live and soft-deleted, of other servers."""
    other_servers: Reading[Server] = dataclasses.field(default_factory=Reading)
    """The other servers with attachments or live mappings of the volumes, if Nova knows them."""
    guests: MappingType[str, Reading[Disk]] = dataclasses.field(default_factory=dict)
    """By host: the disks of the server's guest there; empty if the host has no such guest."""
    askable_hosts: frozenset[str] = frozenset()
    """The hosts that can report their guests, or timed out and may be able to. A finding can wait for their proof."""
    watchers: MappingType[str, Reading[str]] = dataclasses.field(default_factory=dict)
    """By volume id: the Ceph clients that have its RBD image open; only of volumes that were asked for."""
    host_acts: bool = False
    """Whether the server's own host carries out removals and disconnects volumes, with the instance lock held."""
    cinder_is_behind: tuple[str, ...] = ()
    """Facts that prove that Cinder has lost attachments that are in use. A missing attachment proves nothing then."""
    nova_is_behind: tuple[str, ...] = ()
    """Facts that prove that Nova has lost mappings that are in use, or why it is not known whether it has."""
    is_journalled: bool = False
    """Whether the journal has a change of the server from a time when Nova knew it. Read only if Nova does not now."""
