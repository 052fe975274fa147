# SPDX-License-Identifier: Apache-2.0
"""Whether a mapping that dedangle removed can be restored, and with which attachment."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from dedangle.core import pairing
from dedangle.core.decisions import Remedy, Result
from dedangle.core.observations import Observation
from dedangle.core.records import Attachment, BlockDeviceMapping, Existence, Refusal, Server, Volume

# The precision that every database has: MySQL stores whole seconds, nova-compute and SQLite more.
_VERSION_LENGTH = len("2026-11-22 21:30:00")


@dataclasses.dataclass(frozen=True, kw_only=True)
class UndoObservation:
    """A mapping as it was when it was removed, and the current state of its server and volume."""

    removed: BlockDeviceMapping
    seen: Observation
    """The observation of the server, with the volume and all its attachments."""
    resumed: bool
    """Whether an undo was started before. Then the server's attachment of the volume belongs to that undo."""
    connector_host: str | None
    """The host of the connector that the operator gave."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Restoration:
    """The row that an undo restores, and its attachment."""

    row: BlockDeviceMapping
    server: Server
    volume: Volume
    replacement: Attachment | None
    """The attachment that the mapping will name; None if a new one must be created."""

    @property
    def is_own(self) -> bool:
        """Whether the mapping's own attachment still exists."""
        return self.replacement is not None and self.replacement.id == self.row.attachment_id

    @property
    def must_connect(self) -> bool:
        """Whether the attachment must be connected through the server's host.

        A hard reboot reads connection_info from Cinder, and a start reads it from the mapping; neither gives Cinder a
        connector (nova virt/block_device.py:refresh_connection_info). Only an unshelve does.
        """
        is_attached = self.is_own and self.replacement is not None and self.replacement.status == "attached"
        return self.server.host is not None and not is_attached

    @property
    def plan(self) -> str:
        """What the undo does, and the command after it that gives the guest its disk."""
        row, host = self.row, self.server.host
        if self.replacement is None:
            names = "a new attachment, which is created first"
        else:
            names = f"attachment {self.replacement.id}, {'its own' if self.is_own else 'created by an earlier undo'}"
        through = f" and connected through host {host}" if self.must_connect else ""
        brings = f"reboot --hard {row.server_id}" if host else f"unshelve {row.server_id}"
        return (
            f"Mapping {row.uuid} of volume {row.volume_id} to server {row.server_id} is restored and names {names}"
            f"{through}. To give the guest its disk, run after it: openstack server {brings}"
        )


def unfit(remedy: str | None, result: str | None, server_id: str, volume_id: str) -> Refusal | None:
    """Return why an entry of the journal can never be undone. The result is None if a crash came before it."""
    if remedy == Remedy.REMOVE_ATTACHMENT:
        return Refusal(
            "it removed an attachment, and Cinder cannot restore it with its id. To attach the volume again, "
            f"run: openstack server add volume {server_id} {volume_id}"
        )
    if remedy in (Remedy.RESTORE_ATTACHMENT, Remedy.ROLL_BACK_DETACH, Remedy.RESET_STATUS):
        return Refusal("it removed nothing from a server")
    if remedy != Remedy.REMOVE_MAPPING:
        return Refusal(f"its remedy is {remedy or 'unknown'}, and only a removed mapping can be restored")
    if result not in (None, Result.UNKNOWN, Result.REMOVED):
        return Refusal(f"it removed nothing: its outcome is {result}")
    return None


def judge(observed: UndoObservation) -> Restoration | Refusal:
    """Return what can be restored, or why nothing can be restored now."""
    removed, seen = observed.removed, observed.seen
    server_state = pairing.server_state(seen)
    unread = (*server_state.unread, *([] if seen.other_servers_bdms.complete else [seen.other_servers_bdms.why]))
    if unread:
        return Refusal(f"not everything could be read: {'; '.join(unread)}")
    # The cell is not compared, because it has no name inside nova-compute.
    rows = (mapping for mapping in (*seen.after.mappings, *seen.after.tombstones) if mapping.uuid == removed.uuid)
    row = next((row for row in rows if row.id == removed.id), None)
    if row is None:
        return Refusal("Nova has archived or purged the mapping's row")
    if not row.deleted:
        return Refusal("the mapping is live, so it was restored already")
    if _content(row) != _content(removed):
        return Refusal("the mapping's row has changed since it was removed")
    server = server_state.server
    if server is None or server_state.existence is not Existence.LIVE:
        return Refusal(f"server {removed.server_id} is {server_state.existence}")
    volume = next(iter(seen.cinder.volumes[removed.volume_id].rows), None)
    if volume is None:
        return Refusal(f"Cinder no longer has volume {removed.volume_id}")
    # The status is attaching if an undo died after it connected its attachment and before it completed it.
    half_made = observed.resumed and volume.status == "attaching"
    busy = [str(marker) for marker in server_state.markers if not (half_made and marker.kind == "volume")]
    if busy:
        return Refusal(f"the server is busy: {'; '.join(busy)}")
    if server.vm_state not in ("active", "stopped") and not server.is_without_host:
        return Refusal(f"the server is {server.vm_state}; bring it to ACTIVE, SHUTOFF or SHELVED_OFFLOADED first")
    mine = [attachment for attachment in _attachments(observed) if attachment.server_id == removed.server_id]
    found = Restoration(row=row, server=server, volume=volume, replacement=next(iter(mine), None))
    hindrances = (
        *_takers(observed, volume, server),
        *_strangers(observed, found, len(mine)),
        *_connector(observed, found),
    )
    return next(map(Refusal, hindrances), found)


def facts(observed: UndoObservation) -> Iterator[str]:
    """Yield the facts that were read for an undo, one a line, with full ids."""
    removed, seen = observed.removed, observed.seen
    for row in (*seen.after.mappings, *seen.after.tombstones):
        if row.volume_id == removed.volume_id:
            state = "deleted" if row.deleted else "live"
            yield f"Nova {row.cell}: mapping {row.uuid} (row {row.id}), attachment {row.attachment_id}, is {state}"
    for server in seen.after.servers:
        state = f"{server.vm_state}, task_state {server.task_state or 'none'}, host {server.host or 'none'}"
        yield f"Nova {server.cell}: server {server.id} is {state}"
    for volume in seen.cinder.volumes[removed.volume_id].rows:
        yield f"Cinder: volume {volume.id} is {volume.status}"
    for each in _attachments(observed):
        yield f"Cinder: server {each.server_id} holds attachment {each.id} of the volume ({each.status})"


def _attachments(observed: UndoObservation) -> tuple[Attachment, ...]:
    return observed.seen.cinder.of_volumes[observed.removed.volume_id].rows


def _takers(observed: UndoObservation, volume: Volume, server: Server) -> Iterator[str]:
    """Yield why the volume or the mapping's place is no longer free."""
    removed = observed.removed
    if volume.consumer:
        yield f"the volume now belongs to {volume.consumer}"
    if volume.project_id != server.project_id:
        yield f"the volume now belongs to project {volume.project_id}"
    for other in observed.seen.after.mappings:
        if other.volume_id == removed.volume_id:
            yield f"the server has the volume again, through mapping {other.uuid}"
        if removed.device_name is not None and other.device_name == removed.device_name:
            yield f"the server now has volume {other.volume_id} as {removed.device_name}"
        if removed.is_bootable and other.boot_index == removed.boot_index:
            yield f"the server now boots from volume {other.volume_id}"
    if not volume.multiattach:
        for bdm in observed.seen.other_servers_bdms.rows:
            if not bdm.deleted:
                yield f"server {bdm.server_id} now has a mapping of the volume"
        for each in _attachments(observed):
            if each.server_id != removed.server_id:
                owner = f"server {each.server_id}" if each.server_id else "no server"
                yield f"attachment {each.id} of the volume now belongs to {owner}"


def _strangers(observed: UndoObservation, found: Restoration, attachments: int) -> Iterator[str]:
    """Yield why Cinder would refuse an attachment for the server, or has one that no undo created."""
    volume, replacement = found.volume, found.replacement
    if replacement is None and volume.status != "available" and not (volume.multiattach and volume.status == "in-use"):
        yield f"the volume is {volume.status}, and Cinder only attaches a volume that is available"
    if replacement is not None and (attachments > 1 or not (found.is_own or observed.resumed)):
        yield f"Cinder holds attachment {replacement.id} of the volume for the server, but no undo created it"


def _connector(observed: UndoObservation, found: Restoration) -> Iterator[str]:
    host = found.server.host
    if not found.must_connect or observed.connector_host == host:
        return
    if observed.connector_host is not None:
        yield f"the connector is that of host {observed.connector_host}, but the server is on host {host}"
    yield (
        f"the volume must be attached again through host {host}. Run there: nova-manage volume_attachment "
        "get_connector --json > connector.json. Then run the undo with --connector connector.json"
    )


def _content(mapping: BlockDeviceMapping) -> tuple[object, ...]:
    """Return the fields that identify a version of a row, whether it is deleted or not."""
    version = (mapping.version or "")[:_VERSION_LENGTH]
    return (mapping.server_id, mapping.volume_id, mapping.attachment_id, mapping.device_name, version)
