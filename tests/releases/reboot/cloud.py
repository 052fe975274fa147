# SPDX-License-Identifier: Apache-2.0
"""Nova's functional test case for libvirt as the tests' cloud: one host, fakelibvirt, CinderFixture, our manager."""

import contextlib
import dataclasses
import json
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from unittest import mock

import fixtures
import requests.adapters
from keystoneauth1 import loading
from lxml import etree
from nova import context as nova_context
from nova import objects
from nova.db.main import api as db_api
from nova.db.main import models
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.functional.libvirt import base
from nova.virt.libvirt import LibvirtDriver

from cinder_rest import CREDENTIALS, CinderRest
from dedangle.compute.main import MANAGER

HOST = "compute1"
_DEVICES = "/dev/volumes/"


@dataclasses.dataclass(frozen=True)
class Server:
    id: str
    volumes: list[str]


@dataclasses.dataclass(frozen=True)
class Disconnected:
    """One call of the driver's _disconnect_volume: whether the volume was still mapped, and the guest on."""

    mapped: bool
    running: bool


class Cloud(base.ServersTestBase):  # type: ignore[misc]
    """Everything a test needs to break a server, to reboot it, and to look at all sides of it."""

    __test__ = False  # for pytest: there is nothing in it to run
    microversion = "latest"

    def runTest(self) -> None:  # noqa: N802 - unittest wants one
        pass

    def setUp(self) -> None:
        # keystoneauth registers them as required when they are used, and the next test starts without them.
        credentials = loading.get_auth_plugin_conf_options("v3password")
        self.addCleanup(base.CONF.unregister_opts, credentials, group="dedangle")
        super().setUp()
        self.rest = CinderRest(self.cinder.volume_to_attachment, self.cinder.tenant_id)
        self.state = Path(self.useFixture(fixtures.TempDir()).path)
        self.shutdowns: list[str] = []
        self.disconnected: dict[str, list[Disconnected]] = {}
        send = self.rest.sender(requests.adapters.HTTPAdapter.send)
        self.useFixture(fixtures.MonkeyPatch("requests.adapters.HTTPAdapter.send", send))
        parse = _keeping_serial(fakelibvirt._parse_disk_info)
        self.useFixture(fixtures.MonkeyPatch("nova.tests.fixtures.libvirt._parse_disk_info", parse))
        describe = _with_serials(fakelibvirt.Domain.XMLDesc)
        self.useFixture(fixtures.MonkeyPatch("nova.tests.fixtures.libvirt.Domain.XMLDesc", describe))

        def disconnect(driver: Any, context: Any, connection_info: Any, instance: Any, **kwargs: Any) -> Any:
            volume = connection_info["data"]["volume_id"]
            domain = driver._host.get_connection().lookupByUUIDString(instance.uuid)
            seen = Disconnected(mapped=volume in self._mapped(instance.uuid), running=bool(domain.isActive()))
            self.disconnected.setdefault(volume, []).append(seen)
            return real_disconnect(driver, context, connection_info, instance, **kwargs)

        real_disconnect = LibvirtDriver._disconnect_volume
        self.useFixture(fixtures.MonkeyPatch("nova.virt.libvirt.LibvirtDriver._disconnect_volume", disconnect))

        def answer_acpi(domain: fakelibvirt.Domain) -> None:
            # fakelibvirt's own guest never finishes its shutdown.
            self.shutdowns.append(domain.UUIDString())
            domain.destroy()

        def mark_running(connection: fakelibvirt.Connection, domain: fakelibvirt.Domain) -> None:
            # In fakelibvirt a domain that was off has no id any more, by which Nova sees that a soft reboot worked.
            domain._id = connection._id_counter
            real_mark_running(connection, domain)

        real_mark_running = fakelibvirt.Connection._mark_running
        self.useFixture(fixtures.MonkeyPatch("nova.tests.fixtures.libvirt.Connection._mark_running", mark_running))
        self.useFixture(fixtures.MonkeyPatch("nova.tests.fixtures.libvirt.Domain.shutdown", answer_acpi))
        managers = mock.patch.dict("nova.service.SERVICE_MANAGERS", {"nova-compute": MANAGER})
        managers.start()
        self.addCleanup(managers.stop)
        self.start_compute(HOST)
        base.CONF.register_opts(credentials, group="dedangle")
        self.flags(group="dedangle", state_dir=str(self.state), **CREDENTIALS)

    @property
    def driver(self) -> Any:
        return self.computes[HOST].driver

    @property
    def log(self) -> str:
        return str(self.stdlog.logger.output)

    def server(self, volumes: int) -> Server:
        """An active server with an image and volumes attached to it."""
        server = Server(self._create_server(networks="none")["id"], [])
        for _ in range(volumes):
            self.attach(server)
        return server

    def attach(self, server: Server, volume: str = "") -> str:
        """Attach another volume to the server, a new one or this."""
        volume = volume or self.volume()
        self.api.post_server_volume(server.id, {"volumeAttachment": {"volumeId": volume}})
        self._wait_for_volume_attach(server.id, volume)
        server.volumes.append(volume)
        return volume

    def volume(self, **address: Any) -> str:
        """Make a volume; what else its connection_info is to say of its address is in `address`."""
        volume = str(uuid.uuid4())
        self._connect_by(volume, address)
        return volume

    def _connect_by(self, volume: str, address: dict[str, Any]) -> None:
        connection = {"driver_volume_type": "local", "data": {"device_path": device_of(volume), **address}}
        self.cinder.VOLUME_CONNECTION_INFO = {**self.cinder.VOLUME_CONNECTION_INFO, volume: connection}

    def server_from_volume(self) -> Server:
        """An active server whose root disk is a volume."""
        root = self.cinder.IMAGE_BACKED_VOL
        self._connect_by(root, {})
        disk = {"boot_index": 0, "uuid": root, "source_type": "volume", "destination_type": "volume"}
        request = self._build_server(networks="none", image_uuid="")
        request["block_device_mapping_v2"] = [disk]
        made = self.api.post_server({"server": request})
        self._wait_for_state_change(made, "ACTIVE")
        return Server(made["id"], [root])

    def lose_attachment(self, volume: str) -> None:
        """Delete the volume's attachment behind Nova's back."""
        del self.cinder.volume_to_attachment[volume]

    def attach_behind_nova(self, server: Server, volume: str, host: str | None) -> str:
        """Make an attachment that Nova does not know: connected through the host, or reserved."""
        ident = str(uuid.uuid4())
        connector = {"host": host} if host else None
        row = {"id": ident, "instance_uuid": server.id, "connector": connector}
        self.cinder.volume_to_attachment[volume][ident] = row
        return ident

    def put_behind(self, server: Server, volume: str, source: str) -> None:
        """Put another source behind the volume's disk in the guest, as a swap does, which leaves the serial."""
        (disk,) = [each for each in self.domain(server.id)._def["devices"]["disks"] if each["serial"] == volume]
        disk["source"] = source

    def forget(self, server: Server, how: str) -> None:
        """Let Nova lose the server while its guest runs on: deleted, archived or purged."""
        context = nova_context.get_admin_context()
        db_api.instance_destroy(context, server.id)
        for bdm in self._bdms(server.id):
            bdm.destroy()
        if how != "deleted":
            db_api.archive_deleted_rows(context, max_rows=1000)
        if how == "purged":
            db_api.purge_shadow_tables(context, None)

    def map_without_attachment(self, server: Server) -> str:
        """Leave what an attach leaves that ended before Cinder was asked."""
        volume = self.volume()
        context = nova_context.get_admin_context()
        bdm = objects.BlockDeviceMapping(
            context,
            instance_uuid=server.id,
            volume_id=volume,
            source_type="volume",
            destination_type="volume",
            device_name="/dev/vdz",
        )
        bdm.create()
        return volume

    def bdm(self, server: Server, volume: str) -> Any:
        (bdm,) = [each for each in self._bdms(server.id) if each.volume_id == volume]
        return bdm

    def reboot(self, server: Server, kind: str) -> dict[str, str]:
        """Reboot through the API, and return the result of each event of the action."""
        self.settle()
        self.forget_calls()
        self.notifier.reset()
        self._reboot_server({"id": server.id}, hard=kind == "HARD")
        last = self.admin_api.get_instance_actions(server.id)[0]
        assert last["action"] == "reboot"
        detail = self.admin_api.get_instance_action_details(server.id, last["request_id"])
        return {each["event"]: each["result"] for each in detail["events"]}

    def settle(self) -> None:
        """Set the times of all mappings back by an hour: dedangle leaves alone what has just changed."""
        hour_ago = (datetime.now(timezone.utc) - timedelta(hours=1)).replace(tzinfo=None)
        _set_back(nova_context.get_admin_context(), hour_ago)

    def forget_calls(self) -> None:
        self.rest.calls.clear()
        self.disconnected.clear()
        self.shutdowns.clear()

    def restart_host(self, *servers: Server, task_state: str, guests_off: bool) -> None:
        """Restart nova-compute as if it had died with the reboots of the servers in that task_state."""
        for server in servers:
            instance = objects.Instance.get_by_uuid(nova_context.get_admin_context(), server.id)
            instance.task_state = task_state
            instance.save()
            if guests_off:
                self.domain(server.id).destroy()
        self.settle()
        self.forget_calls()
        self.restart_compute_service(HOST)
        for server in servers:
            self._wait_for_server_parameter({"id": server.id}, {"OS-EXT-STS:task_state": None, "status": "ACTIVE"})

    def domain(self, server: str) -> fakelibvirt.Domain:
        return self.driver._host.get_connection().lookupByUUIDString(server)

    def in_guest(self, server: Server) -> set[str]:
        """The volumes that the guest has; it must be running."""
        domain = self.domain(server.id)
        assert domain.isActive()
        serials = etree.fromstring(domain.XMLDesc(0)).iterfind("./devices/disk/serial")
        return {each.text for each in serials}

    def mapped(self, server: Server) -> set[str]:
        return self._mapped(server.id)

    def _mapped(self, server: str) -> set[str]:
        return {each.volume_id for each in self._bdms(server)}

    def soft_deleted(self, server: Server) -> set[str]:
        """The volumes of the mappings that were deleted as Nova deletes them."""
        return {each.volume_id for each in self._bdms(server.id, read_deleted="only")}

    def _bdms(self, server: str, read_deleted: str = "no") -> list[Any]:
        context = nova_context.get_admin_context(read_deleted=read_deleted)
        found = objects.BlockDeviceMappingList.get_by_instance_uuid(context, server)
        return [each for each in found if each.is_volume]

    def attachments(self, server: Server) -> set[str]:
        return set(self.cinder.attachment_ids_for_instance(server.id))

    def journal(self) -> list[dict[str, Any]]:
        path = self.state / "journal.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @contextlib.contextmanager
    def driver_raises(self, method: str) -> Iterator[mock.Mock]:
        with mock.patch.object(self.driver, method, side_effect=RuntimeError("as it was told to")) as mocked:
            yield mocked


@db_api.pick_context_manager_writer
def _set_back(context: Any, moment: datetime) -> None:
    rows = context.session.query(models.BlockDeviceMapping)
    rows.update({"created_at": moment, "updated_at": moment})
    rows.filter(models.BlockDeviceMapping.deleted != 0).update({"updated_at": moment, "deleted_at": moment})


def device_of(volume: str) -> str:
    """Return the device that the volume is connected as."""
    return _DEVICES + volume


def _keeping_serial(real: Any) -> Any:
    """Return _parse_disk_info with what libvirt keeps of a disk and fakelibvirt does not: its serial, the volume id."""

    def parse(element: Any) -> dict[str, Any]:
        return {**real(element), "serial": element.findtext("serial")}

    return parse


def _with_serials(real: Any) -> Any:
    """Return Domain.XMLDesc with the serial of each disk.

    As in libvirt the serial stays as it is when something else comes behind the disk.
    """

    def describe(domain: fakelibvirt.Domain, flags: int) -> str:
        tree = etree.fromstring(real(domain, flags))
        for disk, kept in zip(tree.iterfind("./devices/disk"), domain._def["devices"]["disks"], strict=True):
            if kept["serial"]:
                etree.SubElement(disk, "serial").text = kept["serial"]
        return str(etree.tostring(tree, encoding="unicode"))

    return describe
