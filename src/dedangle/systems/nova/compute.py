# SPDX-License-Identifier: Apache-2.0
"""The Nova port inside nova-compute: versioned objects through the conductor, with the instance lock held."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

from nova import exception, objects
from oslo_serialization import jsonutils

from dedangle.core import links
from dedangle.core.decisions import Outcome, Result
from dedangle.core.observations import NovaView
from dedangle.core.pairing import newest
from dedangle.core.records import Attachment, BlockDeviceMapping, HostState, Link, Marker, Reading, Server
from dedangle.core.work import MIGRATION_FAILED, MIGRATION_OVER, REFRESH_LOCK

_TRIES = 2
# Of oslo.db, by the name that the conductor sends: a node of a cluster refused the write, or was lost with it.
_PASSING = ("DBDeadlock", "DBConnectionError", "DBConsistencyError")
_CELL = "this cell"
_SERVERS_AT_ONCE, _AROUND = 50, 4


class NovaCompute:
    """One server on its own host; the caller holds the instance lock.

    With this lock no attach, detach or swap changes a mapping on this host. During a reboot the task_state prevents
    every other operation. Task_state and actions are those of the reboot itself, so they are no sign of other work.
    """

    def __init__(self, context: Any, instance: Any, *, rebooting: bool = False, claim: str | None = None) -> None:
        """Create the port; `claim` is the task_state that dedangle itself has set, so it is no sign of other work."""
        self._context = context
        self._instance = instance
        self._rebooting = rebooting
        self._claim = claim

    def read_live(self, server_id: str) -> NovaView:
        return self._view(server_id, deleted=False)

    def observe(self, server_id: str) -> NovaView:
        return self._view(server_id, deleted=True)

    def other_servers_bdms(self, volume_ids: Collection[str], except_server: str) -> Reading[BlockDeviceMapping]:
        """Return the mappings of the volumes, live and soft-deleted, of other servers in this cell."""
        context = self._context.elevated(read_deleted="yes")
        found: list[BlockDeviceMapping] = []
        for volume_id in sorted(volume_ids):
            try:
                bdms = objects.BlockDeviceMappingList.get_by_volume(context, volume_id)
            except exception.VolumeBDMNotFound:
                continue
            except Exception as error:  # noqa: BLE001  # whatever the conductor raises, Nova was not read
                return _unread(error)
            found += [_mapping(bdm) for bdm in bdms if bdm.instance_uuid != except_server]
        return Reading(tuple(found))

    def servers(self, server_ids: Collection[str]) -> Reading[Server]:
        """Return those of the servers that are in this cell."""
        context = self._context.elevated(read_deleted="yes")
        found = []
        for server_id in sorted(server_ids):
            try:
                found.append(_server(objects.Instance.get_by_uuid(context, server_id, expected_attrs=[])))
            except exception.InstanceNotFound:  # noqa: PERF203  # a few at most
                continue
            except Exception as error:  # noqa: BLE001  # whatever the conductor raises, Nova was not read
                return _unread(error)
        return Reading(tuple(found))

    def compute_hosts(self) -> Reading[str]:
        return Reading.unread("nova-compute cannot read all cells")

    def knows(self, attachments: Collection[Attachment]) -> Reading[str]:
        return Reading(complete=not attachments, why="nova-compute cannot read all cells" if attachments else "")

    def archived_bdms(self, attachments: Collection[Attachment]) -> Reading[BlockDeviceMapping]:  # noqa: ARG002
        return Reading.unread("nova-compute cannot read archived rows")

    def links(self, except_server: str, near: Collection[BlockDeviceMapping] = ()) -> Reading[Link]:
        """Return mappings of other servers on this host: the nearest to each given one, and the newest by project."""
        try:
            others = objects.InstanceList.get_by_host(self._context, self._instance.host, expected_attrs=[])
            projects = {
                instance.uuid: instance.project_id
                for instance in others
                if instance.uuid != except_server and not instance.task_state
            }
            ids = list(projects)
            found = [
                _link(bdm, projects[bdm.instance_uuid])
                for start in range(0, len(ids), _SERVERS_AT_ONCE)
                for bdm in objects.BlockDeviceMappingList.get_by_instance_uuids(
                    self._context, ids[start : start + _SERVERS_AT_ONCE]
                )
                if bdm.is_volume and bdm.volume_id and bdm.attachment_id
            ]
        except Exception as error:  # noqa: BLE001  # whatever the conductor raises, Nova was not read
            return _unread(error)
        found.sort(key=lambda link: -link.number)
        around = [link for mapping in near for link in _nearest(found, mapping.id)]
        return Reading(tuple(dict.fromkeys((*around, *links.of_many_projects(found)))))

    def soft_delete_mapping(self, expected: BlockDeviceMapping, server: Server | None) -> Outcome:  # noqa: ARG002 - the lock holds it
        """Read the mapping again, compare, and destroy it as Nova does; once more if the database lost or refused it.

        A conductor that does not answer must not fail the reboot: what it does not tell is unknown.
        """
        tried, why = False, ""
        for _ in range(_TRIES):
            try:
                found = next((bdm for bdm in self._bdms(self._context) if bdm.id == expected.id), None)
                if found is None and tried:
                    # The lock of the server is ours: nobody else has removed it.
                    return Outcome(result=Result.REMOVED)
                if found is None or _mapping(found) != expected:
                    return Outcome(result=Result.CHANGED_MEANWHILE, detail="the mapping has changed")
                tried = True
                found.destroy()
                return Outcome(result=Result.REMOVED)
            except Exception as error:  # noqa: BLE001, PERF203  # whatever the conductor raises, Nova was not read
                why = f"Nova did not answer ({getattr(error, 'exc_type', type(error).__name__)})"
                if not any(each in why for each in _PASSING):
                    break
        return Outcome(result=Result.UNKNOWN if tried else Result.FAILED, detail=why)

    def connection_info(self, attachment_id: str) -> dict[str, Any]:
        """Return the connection_info of the live or deleted mapping that names the attachment; empty if it has none.

        It is a secret, and only for the virt driver.
        """
        for bdm in self._bdms(self._context.elevated(read_deleted="yes")):
            if bdm.attachment_id == attachment_id and bdm.connection_info:
                found: dict[str, Any] = jsonutils.loads(bdm.connection_info) or {}
                return found
        return {}

    def _bdms(self, context: Any) -> Any:
        return objects.BlockDeviceMappingList.get_by_instance_uuid(context, self._instance.uuid)

    def _view(self, server_id: str, *, deleted: bool) -> NovaView:
        try:
            context = self._context.elevated(read_deleted="yes") if deleted else self._context
            found = [_mapping(each) for each in self._bdms(context) if each.is_volume and each.volume_id]
            migrations = self._migrations() if deleted else []
            markers = tuple(self._markers(migrations)) if deleted else ()
        except exception.NovaException as error:
            return NovaView(server_id=server_id, unread=(f"Nova could not be read ({type(error).__name__})",))
        return NovaView(
            server_id=server_id,
            servers=(self._own_server(),),
            mappings=tuple(each for each in found if not each.deleted),
            tombstones=tuple(each for each in found if each.deleted),
            markers=markers,
            host_state=HostState.UP,
            live_migration_failed_at=newest(
                migration.updated_at or migration.created_at
                for migration in migrations
                if migration.migration_type == "live-migration" and migration.status in MIGRATION_FAILED
            ),
        )

    def _own_server(self) -> Server:
        # The state at the start of the reboot; the guest may be off now.
        server = dataclasses.replace(_server(self._instance), deleted=False)
        if self._claim and server.task_state == self._claim:
            return dataclasses.replace(server, task_state=None)
        return dataclasses.replace(server, task_state=None, power_state=None) if self._rebooting else server

    def _migrations(self) -> list[Any]:
        return list(objects.MigrationList.get_by_filters(self._context, {"instance_uuid": self._instance.uuid}))

    def _markers(self, migrations: list[Any]) -> list[Marker]:
        markers = [
            Marker(kind="migration", detail=f"{each.id} ({each.migration_type}) is {each.status}")
            for each in migrations
            if each.status not in MIGRATION_OVER
        ]
        # Read again, because the lock may be newer than the instance object of the RPC message.
        instance = objects.Instance.get_by_uuid(self._context, self._instance.uuid, expected_attrs=["system_metadata"])
        if instance.system_metadata.get("locked_reason", "").startswith(REFRESH_LOCK):
            markers.append(Marker(kind="lock", detail="of nova-manage volume_attachment refresh"))
        return markers


def _mapping(bdm: Any) -> BlockDeviceMapping:
    return BlockDeviceMapping(
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
        changed_at=newest((bdm.created_at, bdm.updated_at, bdm.deleted_at)),
        deleted=bool(bdm.deleted),
    )


def _server(instance: Any) -> Server:
    return Server(
        id=instance.uuid,
        cell=_CELL,
        project_id=instance.project_id,
        host=instance.host,
        vm_state=instance.vm_state,
        task_state=instance.task_state,
        power_state=instance.power_state,
        deleted=bool(instance.deleted),
        image_ref=instance.image_ref or None,
        root_device_name=instance.root_device_name,
        launched_at=instance.launched_at,
        deleted_at=instance.deleted_at,
        name=instance.display_name or None,
    )


def _link(bdm: Any, project_id: str) -> Link:
    return Link(
        server_id=bdm.instance_uuid,
        volume_id=bdm.volume_id,
        attachment_id=bdm.attachment_id,
        cell=_CELL,
        number=bdm.id,
        project_id=project_id,
    )


def _nearest(youngest_first: list[Link], number: int) -> list[Link]:
    near = [link for link in youngest_first if abs(link.number - number) <= links.NEAR]
    older = [link for link in near if link.number < number]
    younger = [link for link in near if link.number > number]
    return [*older[:_AROUND], *younger[-_AROUND:]]


def _unread(error: Exception) -> Reading[Any]:
    return Reading.unread(f"Nova could not be read ({type(error).__name__})")
