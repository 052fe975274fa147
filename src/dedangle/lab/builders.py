# SPDX-License-Identifier: Apache-2.0
"""Servers and volumes of one project, made and used through the public APIs as a user would."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dedangle.lab.client import Client, wait_for
from dedangle.lab.cloud import Cloud
from dedangle.lab.errors import LabError

JsonObject = dict[str, Any]

IMAGE = "10000000-0000-4000-8000-000000000001"


@dataclass(frozen=True)
class Server:
    """A server that boots from the first of its volumes."""

    id: str
    volumes: tuple[str, ...]


class Builder:
    """Makes and uses the servers and volumes of one project; each call waits until its effect is visible."""

    def __init__(self, cloud: Cloud, project: str = "p1") -> None:
        self.cloud = cloud
        self.user: Client = cloud.user(project)

    def volume(self, size: int = 1, *, bootable: bool = False, name: str = "", kind: str | None = None) -> str:
        """Make a volume; kind is a volume type of Cinder, None for the default one."""
        volume = self._create_volume(size, name, kind)
        self._wait_volume(volume, "available")
        if bootable:
            self._set_bootable(volume)
        return volume

    def _create_volume(self, size: int, name: str, kind: str | None = None) -> str:
        body = {"volume": {"size": size, "name": name, "volume_type": kind}}
        return str(self.user.cinder("POST", "/volumes", body, expect=202).body["volume"]["id"])

    def _set_bootable(self, volume: str) -> None:
        action = {"os-set_bootable": {"bootable": True}}
        self.user.cinder("POST", f"/volumes/{volume}/action", action, expect=200)

    def delete_volume(self, volume: str) -> None:
        self.user.cinder("DELETE", f"/volumes/{volume}", expect=202)
        wait_for(f"volume {volume} deleted", lambda: self.user.cinder("GET", f"/volumes/{volume}").status == 404)

    def server(self, name: str, volumes: int = 2, *, delete_on_termination: bool = False) -> Server:
        """Make a server with a root volume and `volumes` more."""
        # All are asked for before the first is waited for: Cinder makes them side by side.
        root, *more = created = [self._create_volume(1, f"{name}-{number}") for number in range(volumes + 1)]
        for volume in created:
            self._wait_volume(volume, "available")
        self._set_bootable(root)
        server = self.boot(name, [root], delete_on_termination=delete_on_termination)
        for volume in more:
            self.attach(server, volume)
        return Server(server, (root, *more))

    def boot(self, name: str, volumes: Sequence[str], *, delete_on_termination: bool = False) -> str:
        """Make a server that boots from the first of the volumes and has all of them from the start."""
        disks = [
            {
                "uuid": volume,
                "boot_index": 0 if number == 0 else -1,
                "source_type": "volume",
                "destination_type": "volume",
                "delete_on_termination": delete_on_termination,
            }
            for number, volume in enumerate(volumes)
        ]
        request = {"name": name, "flavorRef": "1", "networks": "none", "block_device_mapping_v2": disks}
        server = str(self.user.nova("POST", "/servers", {"server": request}, expect=202).body["server"]["id"])
        self._wait_server(server, "ACTIVE")
        for volume in volumes:
            self._wait_volume(volume, "in-use")
        return server

    def attach(self, server: str, volume: str) -> None:
        body = {"volumeAttachment": {"volumeId": volume}}
        self.user.nova("POST", f"/servers/{server}/os-volume_attachments", body, expect=200)
        self._wait_volume(volume, "in-use")
        self._wait_idle(server)

    def detach(self, server: str, volume: str) -> None:
        self.user.nova("DELETE", f"/servers/{server}/os-volume_attachments/{volume}", expect=202)
        self._wait_volume(volume, "available")
        self._wait_idle(server)

    def stop(self, server: str) -> None:
        self._act(server, {"os-stop": None}, "SHUTOFF")

    def start(self, server: str) -> None:
        self._act(server, {"os-start": None}, "ACTIVE")

    def shelve_offload(self, server: str) -> None:
        """Shelve a server; the lab offloads shelved servers at once."""
        self._act(server, {"shelve": None}, "SHELVED_OFFLOADED")

    def unshelve(self, server: str) -> None:
        self._act(server, {"unshelve": None}, "ACTIVE")

    def resize(self, server: str, flavor: str = "2") -> None:
        self._act(server, {"resize": {"flavorRef": flavor}}, "VERIFY_RESIZE")

    def confirm(self, server: str) -> None:
        self._act(server, {"confirmResize": None}, "ACTIVE", status=204)

    def revert(self, server: str) -> None:
        self._act(server, {"revertResize": None}, "ACTIVE")

    def rebuild(self, server: str) -> None:
        """Rebuild from the image that the root volume was made of, as Nova wants it to be; the lab's are all empty."""
        disks = self.user.nova("GET", f"/servers/{server}/os-volume_attachments", expect=200).body["volumeAttachments"]
        for volume in (disk["volumeId"] for disk in disks):
            made_of = {"os-set_image_metadata": {"metadata": {"image_id": IMAGE}}}
            self.user.cinder("POST", f"/volumes/{volume}/action", made_of, expect=200)
        self._act(server, {"rebuild": {"imageRef": IMAGE}}, "ACTIVE")

    def rescue(self, server: str) -> None:
        """Let the server boot from a rescue image, with its own disks beside it; the driver must be able to do it."""
        self._act(server, {"rescue": {"rescue_image_ref": IMAGE}}, "RESCUE", status=200)

    def unrescue(self, server: str) -> None:
        self._act(server, {"unrescue": None}, "ACTIVE")

    def live_migrate(self, server: str) -> None:
        """Move a running server to another host of the lab, as an administrator."""
        action = {"os-migrateLive": {"host": None, "block_migration": "auto"}}
        request = self.cloud.admin.nova("POST", f"/servers/{server}/action", action, expect=202).request_id
        self._finished_action(server, request)
        self._wait_idle(server)

    def delete(self, server: str) -> None:
        self.user.nova("DELETE", f"/servers/{server}", expect=204)
        wait_for(
            f"server {server} deleted", lambda: self.user.nova("GET", f"/servers/{server}").status == 404, seconds=60
        )

    def reboot(self, server: str, kind: Literal["HARD", "SOFT"] = "HARD") -> JsonObject:
        """Reboot, and return the finished instance action with its events, as an administrator sees it."""
        request = self.user.nova("POST", f"/servers/{server}/action", {"reboot": {"type": kind}}, expect=202).request_id
        action = self._finished_action(server, request)
        self._wait_idle(server)
        return action

    def status(self, server: str) -> str:
        return str(self._show(server)["status"])

    def _act(self, server: str, action: JsonObject, becomes: str, *, status: int = 202) -> None:
        request = self.user.nova("POST", f"/servers/{server}/action", action, expect=status).request_id
        self._wait_server(server, becomes)
        # The status is there before the event of the action has its end, and until then the server is in flight.
        self._finished_action(server, request)

    def _finished_action(self, server: str, request: str) -> JsonObject:
        admin = self.cloud.admin

        def finished() -> JsonObject | None:
            answer = admin.nova("GET", f"/servers/{server}/os-instance-actions/{request}")
            if answer.status != 200:
                return None
            action: JsonObject = answer.body["instanceAction"]
            events = action["events"]
            return action if events and all(event["finish_time"] for event in events) else None

        return wait_for(f"action {request} of server {server} finished", finished)

    def _show(self, server: str) -> JsonObject:
        shown: JsonObject = self.user.nova("GET", f"/servers/{server}", expect=200).body["server"]
        return shown

    def _wait_server(self, server: str, status: str) -> None:
        def there() -> bool:
            shown = self._show(server)
            if shown["status"] == "ERROR" and status != "ERROR":
                raise LabError(f"Server {server} is in ERROR: {shown.get('fault')}")
            return shown["status"] == status and shown["OS-EXT-STS:task_state"] is None

        wait_for(f"server {server} {status}", there)

    def _wait_idle(self, server: str) -> None:
        def idle() -> bool:
            return self._show(server)["OS-EXT-STS:task_state"] is None

        # A live migration of three volumes, with every request late, on a busy machine.
        wait_for(f"server {server} idle", idle, seconds=180)

    def _wait_volume(self, volume: str, status: str) -> None:
        def there() -> bool:
            now = self.user.cinder("GET", f"/volumes/{volume}", expect=200).body["volume"]["status"]
            if now.startswith("error") and now != status:
                raise LabError(f"Volume {volume} is in {now}; see the log of cinder.")
            return bool(now == status)

        wait_for(f"volume {volume} {status}", there)
