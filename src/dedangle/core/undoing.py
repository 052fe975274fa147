# SPDX-License-Identifier: Apache-2.0
"""Whether a mapping that dedangle removed can be restored, and with which attachment."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from dedangle.core import pairing
from dedangle.core.decisions import Remedy, Result
from dedangle.core.observations import Observation
from dedangle.core.records import Attachment, BlockDeviceMapping, Existence, Refusal, Server, Volume

# As exact as every database keeps it: MySQL has whole seconds, nova-compute and SQLite write more.
_VERSION_LENGTH = len("2026-11-22 21:30:00")


@dataclasses.dataclass(frozen=True, kw_only=True)
class UndoObservation:
    """A mapping as it was when it was removed, and what there is now of all that it touches."""

    removed: BlockDeviceMapping
    seen: Observation
    """Of the mapping's server, with its volume and all attachments of that."""
    resumed: bool
    """Whether an undo was begun before: the attachment that the server has of the volume is then that undo's."""
    connector_host: str | None
    """The host whose connector the operator gave."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Restoration:
    """What an undo restores, and with what."""

    row: BlockDeviceMapping
    server: Server
    volume: Volume
    replacement: Attachment | None
    """The attachment that is there for the mapping to name; without one it must be made."""

    @property
    def is_own(self) -> bool:
        """Whether the mapping's own attachment is still there."""
        return self.replacement is not None and self.replacement.id == self.row.attachment_id

    @property
    def must_connect(self) -> bool:
        """Whether the attachment must be connected through the server's host.

        A hard reboot takes connection_info from Cinder as it is, a start takes it from the mapping's row; neither gives
        Cinder a connector (nova virt/block_device.py:refresh_connection_info). Only an unshelve does.
        """
        is_attached = self.is_own and self.replacement is not None and self.replacement.status == "attached"
        return self.server.host is not None and not is_attached

    @property
    def plan(self) -> str:
        """What is done, and what gives the guest its disk after it."""
        row, host = self.row, self.server.host
        if self.replacement is None:
            names = "a new attachment, made before it"
        else:
            names = f"attachment {self.replacement.id}, {'its own' if self.is_own else 'made by an earlier undo'}"
        through = f" and connected through host {host}" if self.must_connect else ""
        brings = f"reboot --hard {row.server_id}" if host else f"unshelve {row.server_id}"
        return (
            f"Mapping {row.uuid} of volume {row.volume_id} to server {row.server_id} is restored; it names {names}"
            f"{through}. The guest gets the disk by: openstack server {brings}"
        )


def unfit(remedy: str | None, result: str | None) -> Refusal | None:
    """Return why an entry of the journal can never be undone; without a result a crash came between."""
    if remedy == Remedy.REMOVE_ATTACHMENT:
        return Refusal(
            "it removed an attachment, and Cinder gives no attachment its id back; to attach the volume anew run: "
            "openstack server add volume SERVER VOLUME"
        )
    if remedy in (Remedy.RESTORE_ATTACHMENT, Remedy.ROLL_BACK_DETACH, Remedy.RESET_STATUS):
        return Refusal("it took nothing away from a server")
    if remedy != Remedy.REMOVE_MAPPING:
        return Refusal(f"its remedy is {remedy or 'lost'}, and only a removed mapping can be restored")
    if result not in (None, Result.UNKNOWN, Result.REMOVED):
        return Refusal(f"it removed nothing: its outcome is {result}")
    return None


def judge(observed: UndoObservation) -> Restoration | Refusal:
    """What can be restored, or why it cannot be now."""
    removed, seen = observed.removed, observed.seen
    server_state = pairing.server_state(seen)
    unread = (*server_state.unread, *([] if seen.other_servers_bdms.complete else [seen.other_servers_bdms.why]))
    if unread:
        return Refusal(f"cannot tell, {'; '.join(unread)}")
    # Not by its cell, which has no name inside nova-compute.
    rows = (mapping for mapping in (*seen.after.mappings, *seen.after.tombstones) if mapping.uuid == removed.uuid)
    row = next((row for row in rows if row.id == removed.id), None)
    if row is None:
        return Refusal("Nova has archived or purged the mapping's row")
    if not row.deleted:
        return Refusal("the mapping is live, it was restored already")
    if _content(row) != _content(removed):
        return Refusal("the mapping's row is not as it was when it was removed")
    server = server_state.server
    if server is None or server_state.existence is not Existence.LIVE:
        return Refusal(f"server {removed.server_id} is {server_state.existence}")
    volume = next(iter(seen.cinder.volumes[removed.volume_id].rows), None)
    if volume is None:
        return Refusal(f"Cinder has no volume {removed.volume_id} any more")
    # An undo that died between connecting its attachment and completing it leaves the volume so.
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
    """What was read for an undo, one fact a line, with every id in full."""
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
        yield f"Cinder: {each.server_id} holds attachment {each.id} of the volume ({each.status})"


def _attachments(observed: UndoObservation) -> tuple[Attachment, ...]:
    return observed.seen.cinder.of_volumes[observed.removed.volume_id].rows


def _takers(observed: UndoObservation, volume: Volume, server: Server) -> Iterator[str]:
    """What has taken the volume or the mapping's place since."""
    removed = observed.removed
    if volume.consumer:
        yield f"the volume is {volume.consumer}'s now"
    if volume.project_id != server.project_id:
        yield f"the volume is project {volume.project_id}'s now"
    for other in observed.seen.after.mappings:
        if other.volume_id == removed.volume_id:
            yield f"the server has the volume again, by mapping {other.uuid}"
        if removed.device_name is not None and other.device_name == removed.device_name:
            yield f"the server has volume {other.volume_id} as {removed.device_name} now"
        if removed.is_bootable and other.boot_index == removed.boot_index:
            yield f"the server boots from volume {other.volume_id} now"
    if not volume.multiattach:
        for bdm in observed.seen.other_servers_bdms.rows:
            if not bdm.deleted:
                yield f"server {bdm.server_id} maps the volume now"
        for each in _attachments(observed):
            if each.server_id != removed.server_id:
                yield f"{each.server_id or 'no server'} holds attachment {each.id} of the volume now"


def _strangers(observed: UndoObservation, found: Restoration, attachments: int) -> Iterator[str]:
    """Why Cinder would give the server no attachment, or has given it one that is none of ours."""
    volume, replacement = found.volume, found.replacement
    if replacement is None and volume.status != "available" and not (volume.multiattach and volume.status == "in-use"):
        yield f"the volume is {volume.status}, so that Cinder gives it to nobody"
    if replacement is not None and (attachments > 1 or not (found.is_own or observed.resumed)):
        yield f"Cinder holds attachment {replacement.id} of the volume for the server, which no undo has made"


def _connector(observed: UndoObservation, found: Restoration) -> Iterator[str]:
    host = found.server.host
    if not found.must_connect or observed.connector_host == host:
        return
    if observed.connector_host is not None:
        yield f"the connector is that of host {observed.connector_host}, and the server is on {host}"
    yield (
        f"the volume must be attached anew through host {host}; run there: nova-manage volume_attachment get_connector "
        "--json > connector.json, and undo with --connector connector.json"
    )


def _content(mapping: BlockDeviceMapping) -> tuple[object, ...]:
    """What tells one version of a row from another, whether it is deleted or not and whoever read it."""
    version = (mapping.version or "")[:_VERSION_LENGTH]
    return (mapping.server_id, mapping.volume_id, mapping.attachment_id, mapping.device_name, version)
