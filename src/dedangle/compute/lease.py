# SPDX-License-Identifier: Apache-2.0
"""Check that the address of a released attachment still belongs to its volume, before the host disconnects it."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as MappingType
from typing import Any

from nova import objects, utils
from oslo_serialization import jsonutils

from dedangle.core import addresses
from dedangle.core.addresses import Connection
from dedangle.core.records import Refusal
from dedangle.systems import guests, libvirt, scsi

# Servers whose mappings are read with one query.
_CHUNK = 50
# A resize that waits for its confirmation: the source has disconnected the volumes, and the destination has the server.
_NOT_MOVING = ("finished",)


def check(
    context: Any,
    driver: Any,
    host: str,
    server_id: str,
    mapping_id: int | None,
    connection_info: MappingType[str, Any],
) -> Refusal | None:
    """Return why the host must not disconnect the volume, without secrets: its address may belong to another volume.

    mapping_id is the live mapping with this address, or None if the mapping is soft-deleted. A failed read is a
    refusal. The mappings are read last, because an attach that starts meanwhile has written its mapping by then.
    """
    if not guests.of(driver).connects_volumes:
        return None
    try:
        return (
            _other_guest(driver, server_id, connection_info)
            or _other_volume(connection_info)
            or _migration(context, driver, host)
            or addresses.conflict(connection_info, list(_connections(context, host, mapping_id)))
        )
    except Exception as error:  # noqa: BLE001 -- what cannot be read is a refusal
        return Refusal(f"the host could not check what else uses its address ({type(error).__name__})")


def _other_guest(driver: Any, server_id: str, connection_info: MappingType[str, Any]) -> Refusal | None:
    found = guests.of(driver).sources_of_others(driver, server_id)
    if not found.complete:
        return Refusal(found.why)
    mine = addresses.sources(connection_info)
    users = (other for other, source in found.rows if any(libvirt.is_same_source(source, own) for own in mine))
    other = next(users, "")
    return Refusal(f"the guest of server {other} on the host uses the same device") if other else None


def _other_volume(connection_info: MappingType[str, Any]) -> Refusal | None:
    wwn = scsi.other_wwn(connection_info, utils.get_root_helper())
    return Refusal(f"the device at its address now is another volume, with WWN {wwn}") if wwn else None


def _migration(context: Any, driver: Any, host: str) -> Refusal | None:
    """Return why the mappings do not show all addresses: a migrating server uses two hosts, but has one address."""
    for node in driver.get_available_nodes():
        for each in objects.MigrationList.get_in_progress_by_host_and_node(context, host, node):
            if each.status not in _NOT_MOVING:
                return Refusal(
                    f"server {each.instance_uuid} is migrating to or from the host, and its addresses are not known"
                )
    return None


def _connections(context: Any, host: str, mapping_id: int | None) -> Iterator[Connection]:
    """Yield the connections of all live mappings on the host, except the mapping with the address in question."""
    reader = context.elevated(read_deleted="no")
    servers = [each.uuid for each in objects.InstanceList.get_by_host(reader, host, expected_attrs=[])]
    for start in range(0, len(servers), _CHUNK):
        chunk = servers[start : start + _CHUNK]
        for bdm in objects.BlockDeviceMappingList.get_by_instance_uuids(reader, chunk):
            if bdm.is_volume and bdm.id != mapping_id:
                info = jsonutils.loads(bdm.connection_info or "{}") or {}
                yield Connection(
                    server_id=bdm.instance_uuid,
                    volume_id=bdm.volume_id,
                    is_attaching=bool(bdm.attachment_id) and not info,
                    connection_info=info,
                )
