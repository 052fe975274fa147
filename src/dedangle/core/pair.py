# SPDX-License-Identifier: Apache-2.0
"""A pair: the mapping and the attachment of one server and volume, with the state of the whole server."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from collections.abc import Mapping as MappingType
from datetime import datetime

from dedangle.core.records import (
    Attachment,
    BlockDeviceMapping,
    Disk,
    Existence,
    HostState,
    Marker,
    Reading,
    Server,
    Volume,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerState:
    """The state of the whole server, which all its pairs share."""

    server_id: str
    server: Server | None
    existence: Existence
    host_state: HostState
    markers: tuple[Marker, ...]
    first_volume: str | None
    """The first of its volumes; findings about the whole server are reported there."""
    unread: tuple[str, ...]
    last_action_at: datetime | None
    lost: frozenset[str]
    """Ids of attachments that live mappings name and that Cinder does not have."""
    unproved: frozenset[str]
    """Ids of attachments that live mappings name and that Cinder does not have for this server and volume."""
    unmapped: frozenset[str]
    """Ids of the server's attachments that no live mapping names, without those of legacy mappings."""
    unmapped_connected: frozenset[str]
    """Those of them that may be connected and that Nova has not let go, of volumes that no live mapping names."""
    mapped: frozenset[str]
    """The volumes of its live mappings."""
    only_volume: str | None
    """The volume of the only live mapping, or of the only one that was ever connected."""
    twice_named: frozenset[str]
    """Ids of attachments that more than one live mapping names."""
    guests: MappingType[str, Reading[Disk]]
    """By host: the disks of the server's guest there; none where the host has no such guest."""
    askable_hosts: frozenset[str]
    host_acts: bool
    """Whether the server's own host carries removals out."""
    cinder_is_behind: tuple[str, ...]
    nova_is_behind: tuple[str, ...]
    is_journalled: bool
    """Whether the journal has a change of the server from a time when Nova knew it."""
    live_migration_failed_at: datetime | None

    def failed_to_migrate_since(self, moment: datetime | None) -> bool:
        """Whether a live migration failed after the mapping last changed.

        If a live migration fails early, its rollback deletes the attachments of the source host, which the guest still
        uses (bug 1889108). It writes the mappings before it marks the migration as failed.
        """
        failed = self.live_migration_failed_at
        return failed is not None and (moment is None or failed >= moment)

    def work_on(self, volume_id: str) -> tuple[Marker, ...]:
        """Return the operations in progress that may change the pair of the volume.

        An operation on another volume does not, unless no mapping names one of the server's attachments. This may be
        the new attachment of a volume swap, and the status of the old volume is the only sign of a swap
        (nova/compute/api.py:swap_volume).
        """
        return tuple(marker for marker in self.markers if self.unmapped or marker.volume_id in (None, volume_id))

    @property
    def may_write(self) -> bool:
        """Whether the server may have a running guest; True if Nova does not know the server."""
        return self.server is None or self.server.may_have_guest

    @property
    def host_down(self) -> Marker | None:
        """The sign that the server's host is down; None if it is not."""
        return next((marker for marker in self.markers if marker.kind == "host"), None)

    def has_answered(self, host: str) -> bool:
        """Whether the host reported all disks of the server's guest there."""
        reading = self.guests.get(host)
        return reading is not None and reading.complete

    def hosts_with_disk(self, volume_id: str, *, unexpected: bool = False) -> tuple[str, ...]:
        """Return the hosts that report a running guest of the server with the volume, in order.

        With `unexpected`, hosts are included where no guest of the server should run, but a guest has a disk that
        Nova's mappings do not explain: its serial may be old, and the disk may be that of the volume.
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

    def hosts_with_unexpected_guest(self, volume_id: str) -> tuple[str, ...]:
        """Return the hosts where a guest runs with the volume, but Nova has the server off, or on another host."""
        return tuple(
            host for host in self.hosts_with_disk(volume_id, unexpected=True) if not self._is_expected_on(host)
        )

    def is_seen_with(self, volume_id: str) -> bool:
        """Whether the server's own host proves, by the source of the disk, that its running guest has the volume."""
        host = self.server.host if self.server else None
        return self.has_answered(host or "") and any(
            disk.volume_id == volume_id and disk.is_running and disk.is_recognised
            for disk in self.guests[host or ""].rows
        )

    def _is_expected_on(self, host: str) -> bool:
        return self.server is not None and self.server.may_have_guest and self.server.host == host

    def guest_lacks(self, volume_id: str, hosts: Iterable[str | None]) -> bool:
        """Whether every one of the hosts proved that no guest of the server there uses the volume.

        A disk with another source than its volume's mapping makes the proof invalid: after a volume swap the running
        guest still has the serial of the old volume (nova virt/libvirt/driver.py:_swap_volume changes the source of the
        disk, not its serial). A rescued or suspended server proves nothing, because it will not continue with its
        current domain (unrescue, in the same file, starts the earlier one).
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
    """The mapping and the attachment of one (server, volume)."""

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
    """The other servers that have those rows, if Nova knows them."""
    released: frozenset[str] = frozenset()
    """Ids of attachments that a soft-deleted mapping of another server names."""
    named: MappingType[str, Reading[Attachment]] = dataclasses.field(default_factory=dict)
    watchers: Reading[str] | None = None
    """The Ceph clients that have its RBD image open; None if Ceph was not asked."""

    @property
    def open_work(self) -> tuple[Marker, ...]:
        """The operations in progress that may change this pair."""
        return self.server_state.work_on(self.volume_id)

    @property
    def reported_work(self) -> tuple[Marker, ...]:
        """The operations that are reported with this pair: those on its volume; with the first also the server's."""
        return tuple(
            marker
            for marker in self.server_state.markers
            if (marker.volume_id or self.server_state.first_volume) == self.volume_id
        )

    @property
    def other_claimants(self) -> tuple[str, ...]:
        """The other servers with a live mapping or an attachment of the volume, in order.

        Deleted servers are not included, nor servers whose only mapping is a tombstone that names the attachment. Each
        of them has its own finding.
        """
        mapped = {bdm.server_id for bdm in self.other_servers_bdms.rows}
        held = {
            attachment.server_id
            for attachment in self.others.rows
            if attachment.server_id and not (self.other_servers_bdms.complete and attachment.id in self.released)
        }
        return tuple(sorted(each for each in mapped | held if not self._is_deleted(each)))

    @property
    def other_writers(self) -> tuple[str, ...]:
        """Those of the other claimants that may have a running guest, which could write to the volume."""
        without_guest = {
            server.id for server in self.other_servers.rows if not server.deleted and not server.may_have_guest
        }
        return tuple(each for each in self.other_claimants if each not in without_guest)

    @property
    def other_holder(self) -> str | None:
        """The first of the other servers that may write to the volume, or else that holds it."""
        return next(iter(self.other_writers or self.other_claimants), None)

    @property
    def server_without_right(self) -> str:
        """The one of the two servers that must be stopped: this one, unless only this one has an attachment in use."""
        other = self.other_holder
        has_right = any(attachment.status == "attached" for attachment in self.attachments)
        other_has_right = any(
            attachment.status == "attached" and attachment.server_id == other for attachment in self.others.rows
        )
        return other if other and has_right and not other_has_right else self.server_state.server_id

    def _is_deleted(self, server_id: str) -> bool:
        found = [server.deleted for server in self.other_servers.rows if server.id == server_id]
        return bool(found) and all(found)
