# SPDX-License-Identifier: Apache-2.0
"""Each way to make Nova and Cinder disagree, as it happens in real clouds."""

import uuid
from datetime import datetime, timedelta, timezone

import sqlalchemy as sa

from dedangle.lab import rows
from dedangle.lab.builders import Builder
from dedangle.lab.errors import LabError

_MAPPING = sa.table("block_device_mapping", sa.column("id"), sa.column("deleted"), sa.column("deleted_at"))


class Breaker:
    """Breaks what a `Builder` made; each method leaves exactly one kind of disagreement, as if it were an hour old."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._cloud = builder.cloud
        self._home = builder.cloud.home

    def lose_attachment(self, server: str, volume: str) -> str:
        """Delete an attachment in Cinder behind Nova's back, and return its id."""
        attachment = self._attachment(server, volume)
        self._cloud.nova_user.cinder("DELETE", f"/attachments/{attachment}", expect=200)
        rows.settle(self._home, instance_uuid=server)
        rows.set_apart(self._home, instance_uuid=server, volume_id=volume)
        return attachment

    def reset_status(self, volume: str) -> None:
        """Reset a volume to available as an administrator, which drops its attachments and leaves Nova's mappings."""
        reset = {"os-reset_status": {"status": "available", "attach_status": "detached"}}
        self._cloud.admin.cinder("POST", f"/volumes/{volume}/action", reset, expect=202)
        rows.settle(self._home, volume_id=volume)
        rows.set_apart(self._home, volume_id=volume)

    def delete_volume_behind(self, volume: str) -> None:
        """Reset a volume to available, and delete it."""
        self.reset_status(volume)
        self._builder.delete_volume(volume)

    def reserve_attachment(self, server: str, volume: str) -> str:
        """Reserve an attachment that Nova never learns of, as a lost answer does, and return its id."""
        body = {"attachment": {"volume_uuid": volume, "instance_uuid": server}}
        rows.settle(self._home, instance_uuid=server)
        return str(self._builder.user.cinder("POST", "/attachments", body, expect=200).body["attachment"]["id"])

    def attach_unknown(self, server: str, volume: str, host: str) -> str:
        """Attach a volume to a server on `host` without Nova, and return the attachment's id."""
        attachment = self.reserve_attachment(server, volume)
        connector = {"host": host, "initiator": "iqn.lab", "ip": "127.0.0.1", "mountpoint": "/dev/vdx"}
        user = self._builder.user
        user.cinder("PUT", f"/attachments/{attachment}", {"attachment": {"connector": connector}}, expect=200)
        user.cinder("POST", f"/attachments/{attachment}/action", {"os-complete": {}}, expect=204)
        return attachment

    def delete_server_while_cinder_fails(self, server: str) -> None:
        """Delete a server while Cinder answers 500 to every removal of its attachments: Cinder keeps them all."""
        ids = "|".join(str(row["id"]) for row in rows.snapshot(self._home).attachments_of(server))
        with self._cloud.faults.inject("cinder", method="DELETE", path=rf"/v3/.*attachments/({ids})", status=500):
            self._builder.delete(server)
        rows.settle(self._home, instance_uuid=server)

    def glance_like_attachment(self, volume: str) -> str:
        """Attach a volume to no server at all, as Glance's Cinder store does, and return the attachment's id."""
        connector = {"host": "glance", "initiator": "iqn.lab", "ip": "127.0.0.1", "mountpoint": "glance_store"}
        body = {"attachment": {"volume_uuid": volume, "connector": connector}}
        user = self._builder.user
        attachment = str(user.cinder("POST", "/attachments", body, expect=200).body["attachment"]["id"])
        user.cinder("POST", f"/attachments/{attachment}/action", {"os-complete": {}}, expect=204)
        return attachment

    def mapping_never_attached(self, server: str, volume: str, age: timedelta = timedelta(days=1)) -> str:
        """Write the mapping that nova-compute makes before nova-api asks Cinder, as if nova-api had died then."""
        mapping = str(uuid.uuid4())
        written = (datetime.now(timezone.utc) - age).replace(tzinfo=None)
        row = {
            "uuid": mapping,
            "instance_uuid": server,
            "source_type": "volume",
            "destination_type": "volume",
            "volume_id": volume,
            "device_name": "/dev/vdy",
            "delete_on_termination": False,
            "encrypted": False,
            "deleted": 0,
        }
        with self._home.connect("nova_cell1") as nova:
            times = [sa.column(name, sa.DateTime) for name in ("created_at", "updated_at")]
            table = sa.table("block_device_mapping", *times, *map(sa.column, row))
            nova.execute(sa.insert(table).values(created_at=written, updated_at=written, **row))
        return mapping

    def mapping_of_deleted_server(self, server: str) -> None:
        """Delete a server, then restore its mappings. An attach that ends after the deletion leaves the same rows."""
        live = [row["id"] for row in rows.snapshot(self._home).mappings_of(server)]
        self._builder.delete(server)
        with self._home.connect("nova_cell1") as nova:
            nova.execute(sa.update(_MAPPING).where(_MAPPING.c.id.in_(live)).values(deleted=0, deleted_at=None))
        rows.settle(self._home, instance_uuid=server)

    def _attachment(self, server: str, volume: str) -> str:
        found = [row["id"] for row in rows.snapshot(self._home).attachments_of(server) if row["volume_id"] == volume]
        if len(found) != 1:
            raise LabError(f"Volume {volume} has {len(found)} attachments to server {server}, not one.")
        return str(found[0])
