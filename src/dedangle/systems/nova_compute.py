# SPDX-License-Identifier: Apache-2.0
"""Nova seen from inside nova-compute: versioned objects, through the conductor, under the instance lock."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from nova import exception, objects

from dedangle.core.pairing import MIGRATION_OVER, REFRESH_LOCK
from dedangle.core.records import HostState, Link, Mapping, Marker, NovaView, Outcome, Reading, Result, Server

_CELL = "this cell"
_LINKS_FROM = 20


class NovaCompute:
    """One server on its own host; the caller holds the instance lock.

    Under that lock no attach, detach or swap changes a mapping on this host. While it reboots its task_state keeps
    every other operation away: task_state and actions are the reboot's own then, and no signs of work in flight.
    """

    def __init__(self, context: Any, instance: Any, *, rebooting: bool) -> None:
        self._context = context
        self._instance = instance
        self._rebooting = rebooting

    def glance(self, server_id: str) -> NovaView:
        return self._view(server_id, deleted=False)

    def observe(self, server_id: str) -> NovaView:
        return self._view(server_id, deleted=True)

    def rivals(self, volume_ids: Collection[str], besides: str) -> Reading[Mapping]:
        """Mappings of the volumes that other servers of this cell have."""
        found: list[Mapping] = []
        for volume_id in sorted(volume_ids):
            try:
                bdms = objects.BlockDeviceMappingList.get_by_volume(self._context, volume_id)
            except exception.VolumeBDMNotFound:
                continue
            except Exception as error:
                return Reading.unread(f"Nova could not be read ({type(error).__name__})")
            found += [_mapping(each) for each in bdms if each.instance_uuid != besides]
        return Reading(tuple(found))

    def links(self, besides: str) -> Reading[Link]:
        """Mappings of other servers on this host."""
        try:
            others = objects.InstanceList.get_by_host(self._context, self._instance.host, expected_attrs=[])
            projects = {each.uuid: each.project_id for each in others if each.uuid != besides and not each.task_state}
            chosen = list(projects)[:_LINKS_FROM]
            found = objects.BlockDeviceMappingList.get_by_instance_uuids(self._context, chosen) if chosen else []
        except Exception as error:
            return Reading.unread(f"Nova could not be read ({type(error).__name__})")
        return Reading(
            tuple(
                Link(
                    server_id=each.instance_uuid,
                    volume_id=each.volume_id,
                    attachment_id=each.attachment_id,
                    cell=_CELL,
                    project_id=projects[each.instance_uuid],
                )
                for each in found
                if each.is_volume and each.volume_id and each.attachment_id
            )
        )

    def soft_delete_mapping(self, expected: Mapping, server: Server | None) -> Outcome:  # noqa: ARG002 - the lock holds it
        """Read the mapping again, compare, and destroy it as Nova does."""
        try:
            for bdm in self._bdms(self._context):
                if bdm.id == expected.id:
                    if _mapping(bdm) != expected:
                        break
                    bdm.destroy()
                    return Outcome(result=Result.REMOVED)
        except Exception as error:
            # A conductor that does not answer must not fail the reboot; whether it wrote is seen by the next look.
            return Outcome(result=Result.FAILED, detail=f"Nova did not answer ({type(error).__name__})")
        return Outcome(result=Result.CHANGED_MEANWHILE, detail="the mapping is not as it was")

    def relink_mapping(self, expected: Mapping, server: Server | None, attachment_id: str) -> Outcome:  # noqa: ARG002
        return Outcome(result=Result.FAILED, detail="only the command relinks")

    def connection_info(self, attachment_id: str) -> str:
        """What the mapping that names the attachment, live or deleted, was connected by; empty where it never was.

        A secret, for the virt driver alone.
        """
        for bdm in self._bdms(self._context.elevated(read_deleted="yes")):
            if bdm.attachment_id == attachment_id and bdm.connection_info:
                info: str = bdm.connection_info
                return info
        return ""

    def _bdms(self, context: Any) -> Any:
        return objects.BlockDeviceMappingList.get_by_instance_uuid(context, self._instance.uuid)

    def _view(self, server_id: str, *, deleted: bool) -> NovaView:
        try:
            context = self._context.elevated(read_deleted="yes") if deleted else self._context
            found = [_mapping(each) for each in self._bdms(context) if each.is_volume and each.volume_id]
            markers = tuple(self._markers()) if deleted else ()
        except exception.NovaException as error:
            return NovaView(server_id=server_id, unread=(f"Nova could not be read ({type(error).__name__})",))
        return NovaView(
            server_id=server_id,
            servers=(self._server(),),
            mappings=tuple(each for each in found if not each.deleted),
            tombstones=tuple(each for each in found if each.deleted),
            markers=markers,
            host_state=HostState.UP,
        )

    def _server(self) -> Server:
        instance = self._instance
        return Server(
            id=instance.uuid,
            cell=_CELL,
            project_id=instance.project_id,
            host=instance.host,
            # What the reboot found, while the guest may be off by now.
            vm_state=instance.vm_state,
            task_state=None if self._rebooting else instance.task_state,
            power_state=None if self._rebooting else instance.power_state,
            image_ref=instance.image_ref or None,
            root_device_name=instance.root_device_name,
            launched_at=instance.launched_at,
        )

    def _markers(self) -> list[Marker]:
        uuid = self._instance.uuid
        migrations = objects.MigrationList.get_by_filters(self._context, {"instance_uuid": uuid})
        markers = [
            Marker(kind="migration", detail=f"{each.id} ({each.migration_type}) is {each.status}")
            for each in migrations
            if each.status not in MIGRATION_OVER
        ]
        # Read anew: the lock may be younger than the message that brought our instance.
        instance = objects.Instance.get_by_uuid(self._context, uuid, expected_attrs=["system_metadata"])
        if instance.system_metadata.get("locked_reason", "").startswith(REFRESH_LOCK):
            markers.append(Marker(kind="lock", detail="of nova-manage volume_attachment refresh"))
        return markers


def _mapping(bdm: Any) -> Mapping:
    return Mapping(
        id=bdm.id,
        uuid=bdm.uuid,
        cell=_CELL,
        server_id=bdm.instance_uuid,
        volume_id=bdm.volume_id,
        attachment_id=bdm.attachment_id,
        has_connection_info=bdm.connection_info is not None,
        source_type=bdm.source_type,
        boot_index=bdm.boot_index,
        device_name=bdm.device_name,
        created_at=bdm.created_at,
        version=str(bdm.updated_at) if bdm.updated_at else None,
        deleted=bool(bdm.deleted),
    )
