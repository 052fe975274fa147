# SPDX-License-Identifier: Apache-2.0
"""A model of a cloud in which printed commands are typed, as an operator does who does not look at what they answer."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from core.worlds import HOST, RUNNING, SERVER, SHUTDOWN, World, changes, policy
from dedangle.core.decisions import Door, Finding, Remedy
from dedangle.core.records import Attachment, BlockDeviceMapping, HostState, Server

CHECK = re.compile(r"ssh (\S+) 'virsh -c qemu:///system list && ! virsh -c qemu:///system dominfo \S+' && ")
IS_OFF = re.compile(r"ssh (\S+) 'virsh -c qemu:///system domstate \S+ \| grep -q \"shut off\"' && ")

RUNS_NOT = re.compile(r"ssh (\S+) 'virsh -c qemu:///system list && ! virsh \S+ \S+ list --uuid \| grep -q \S+' && ")


class BlockedError(Exception):
    """A command waits for something that does not happen, so that nothing after it is typed."""


class RefusedError(Exception):
    """Nova, Cinder or a check refuses the command."""


class LostError(Exception):
    """A disk was taken from a running guest, or a second guest was started on it."""


class Cloud:
    """The rows of a world, and the guests of its server: those that no host reports too."""

    def __init__(self, world: World, guests: dict[str, set[str]]) -> None:
        self.world = world
        self._guests = {host: set(volumes) for host, volumes in guests.items()}
        """Host -> volumes of the guest that runs there."""
        self._made = 0
        self._show()

    def type(self, commands: tuple[str, ...]) -> int:
        """Type the commands one after the other; return how many were refused."""
        refused = 0
        for command in commands:
            try:
                self._type(command)
            except RefusedError:
                refused += 1
            except BlockedError:
                return refused + 1
            self._show()
        return refused

    def _type(self, command: str) -> None:
        if found := RUNS_NOT.match(command):
            if found[1] in self._guests:
                raise RefusedError(command)
            command = command[found.end() :]
        while found := CHECK.match(command):
            if found[1] == self._server.host or found[1] in self._guests:
                raise RefusedError(command)
            command = command[found.end() :]
        if found := IS_OFF.match(command):
            if found[1] != self._server.host or found[1] in self._guests:
                raise RefusedError(command)
            command = command[found.end() :]
        command = re.sub(r"^\[ .* \] && ", "", command)
        words = command.split()
        for start, act in {
            f"dedangle cleanup {SERVER}": lambda: self._cleanup(words),
            f"openstack server set --state active {SERVER}": lambda: self._change(vm_state="active", task_state=None),
            f"openstack server stop {SERVER}": lambda: self._stop(),
            f"openstack server start {SERVER}": lambda: self._start(("stopped",)),
            f"openstack server reboot --hard --wait {SERVER}": self._reboot,
            f"openstack server unshelve --wait {SERVER}": self._unshelve,
            f"openstack server shelve --offload --wait {SERVER}": self._offload,
            f"openstack server unpause {SERVER}": lambda: self._activate("paused"),
            f"openstack server resume {SERVER}": lambda: self._activate("suspended"),
            f"openstack server unrescue {SERVER}": lambda: self._activate("rescued"),
            f"openstack server shelve --wait {SERVER}": self._shelve,
            "until ssh": lambda: None,
            "until ": lambda: self._wait("stopped" if "SHUTOFF" in command else "active"),
            f"ssh {words[1]} virsh -c qemu:///system shutdown": lambda: self._end_guest(words[1]),
            f"ssh {words[1]} virsh -c qemu:///system destroy": lambda: self._end_guest(words[1]),
            f"ssh {words[1]} nova-manage": lambda: None,
            "nova-manage volume_attachment refresh": lambda: self._refresh(words[4]),
            "openstack volume set": lambda: self._set_status(words[-1], words[4]),
            "cinder reset-state": lambda: self._end_migration(words[-1], words[3]),
            f"openstack server remove volume {SERVER}": lambda: self._detach(words[-1]),
            "openstack --os-volume-api-version 3.27 volume attachment delete": lambda: self._delete(words[-1], True),
            "openstack --os-volume-api-version 3.44 volume attachment complete": lambda: self._complete(words[-1]),
        }.items():
            if command.startswith(start):
                act()
                return
        raise NotImplementedError(command)

    @property
    def _server(self) -> Server:
        return self.world.servers[0]

    def _change(self, **fields: Any) -> None:
        self.world = self.world.but(servers=(dataclasses.replace(self._server, **fields), *self.world.servers[1:]))

    def _show(self) -> None:
        """Let every host that can be asked report what runs there now."""
        shown = {host: tuple(sorted(self._guests.get(host, ()))) for host in self.world.guests}
        self.world = self.world.but(guests=shown)

    def _stop(self) -> None:
        if self._server.vm_state not in ("active", "error") or self._server.host is None:
            raise RefusedError("stop")
        if self.world.host_state is HostState.DOWN:
            raise BlockedError("stop")
        self._guests.pop(self._server.host, None)
        self._change(vm_state="stopped", power_state=SHUTDOWN)

    def _wait(self, vm_state: str) -> None:
        if self._server.vm_state != vm_state:
            raise BlockedError(vm_state)

    def _end_guest(self, host: str) -> None:
        self._guests.pop(host, None)
        if host == self._server.host and not self._server.deleted:
            self._change(power_state=SHUTDOWN)

    def _start(self, allowed: tuple[str, ...]) -> None:
        host = self._server.host
        if self._server.vm_state not in allowed or host is None:
            raise RefusedError("start")
        if set(self._guests) - {host}:
            raise LostError("a second guest was started")
        self._guests[host] = {each.volume_id for each in self.world.mappings}
        self._change(vm_state="active", power_state=RUNNING)

    def _activate(self, vm_state: str) -> None:
        if self._server.vm_state != vm_state:
            raise RefusedError(vm_state)
        self._change(vm_state="active", power_state=RUNNING)

    def _shelve(self) -> None:
        self._guests.pop(self._server.host or "", None)
        self._change(vm_state="shelved", power_state=SHUTDOWN)

    def _reboot(self) -> None:
        self._start(("active", "stopped", "paused", "suspended", "error"))
        mappings = tuple(dataclasses.replace(each, has_connection_info=True) for each in self.world.mappings)
        self.world = self.world.but(mappings=mappings)

    def _offload(self) -> None:
        if self._server.vm_state not in ("active", "stopped", "shelved"):
            raise RefusedError("offload")
        self._guests.pop(self._server.host or "", None)
        self._change(vm_state="shelved_offloaded", host=None, power_state=SHUTDOWN)
        for each in self.world.mappings:
            self._replace(each, "reserved", None)

    def _unshelve(self) -> None:
        if self._server.vm_state != "shelved_offloaded" or self._server.host is not None:
            raise RefusedError("unshelve")
        for each in self.world.mappings:
            self._replace(each, "attached", HOST)
        self._change(vm_state="stopped", host=HOST)
        self._start(("stopped",))

    def _refresh(self, volume_id: str) -> None:
        if self._server.vm_state != "stopped":
            raise RefusedError("refresh")
        for each in self.world.mappings:
            if each.volume_id == volume_id:
                self._replace(each, "attached", self._server.host)

    def _replace(self, mapping: BlockDeviceMapping, status: str, host: str | None) -> None:
        """Give the mapping a new attachment, and delete the old one."""
        beside = {each.id for each in self._of(mapping.volume_id)} - {mapping.attachment_id}
        if any(each.id == mapping.volume_id and each.multiattach for each in self.world.volumes):
            beside = set()
        if host is not None and any(self._is_connected(each) for each in beside):
            raise RefusedError("Cinder connects a volume once")
        if any(each.id == mapping.attachment_id for each in self.world.attachments):
            self._delete(str(mapping.attachment_id), False)
        self._made += 1
        new = Attachment(id=f"N{self._made}", server_id=SERVER, volume_id=mapping.volume_id, status=status)
        connected = {**self.world.connected, **({new.id: host} if host else {})}
        self.world = self.world.but(attachments=(*self.world.attachments, new), connected=connected)
        self._name(mapping, new.id)
        self._recalculate(mapping.volume_id)

    def _name(self, mapping: BlockDeviceMapping, attachment_id: str) -> None:
        named = dataclasses.replace(mapping, attachment_id=attachment_id, has_connection_info=True)
        rows = tuple(named if each.id == mapping.id else each for each in self.world.mappings)
        self.world = self.world.but(mappings=rows)

    def _of(self, volume_id: str) -> list[Attachment]:
        return [each for each in self.world.attachments if each.volume_id == volume_id]

    def _is_connected(self, ident: str) -> bool:
        return any(each.id == ident and each.status in ("attached", "attaching") for each in self.world.attachments)

    def _delete(self, ident: str, by_hand: bool) -> None:
        found = next((each for each in self.world.attachments if each.id == ident), None)
        is_named = any(each.attachment_id == ident and not self._server.deleted for each in self.world.mappings)
        if found is None or (by_hand and is_named and found.status == "attached"):
            raise RefusedError("delete")
        if found.status not in ("reserved", "error_attaching"):
            # Many backends end every connection between the volume and that host.
            host = self.world.connected.get(ident) if found.status == "attached" else None
            # Where dedangle deletes it itself, core/rules.py says what must be known of its host.
            if host or by_hand:
                self._require_unused(found.volume_id, host)
        self.world = self.world.but(
            attachments=tuple(each for each in self.world.attachments if each.id != ident),
            connected={key: host for key, host in self.world.connected.items() if key != ident},
        )
        self._recalculate(found.volume_id)

    def _require_unused(self, volume_id: str, host: str | None = None) -> None:
        users = [each for each, volumes in self._guests.items() if volume_id in volumes and host in (None, each)]
        if users:
            raise LostError(f"{volume_id} was taken from the guest on {users}")

    def _recalculate(self, volume_id: str) -> None:
        statuses = {each.status for each in self._of(volume_id)}
        order = {"attached": "in-use", "attaching": "attaching", "reserved": "reserved"}
        self._set_status(volume_id, next((name for each, name in order.items() if each in statuses), "available"))

    def _set_status(self, volume_id: str, status: str) -> None:
        if status == "in-use" and not self._of(volume_id):
            raise RefusedError("Cinder has no attachment of the volume")
        if status == "available" and any(each.status == "attached" for each in self._of(volume_id)):
            raise LostError(f"another server can attach {volume_id}, which is connected")
        rows = (
            dataclasses.replace(each, status=status) if each.id == volume_id else each for each in self.world.volumes
        )
        self.world = self.world.but(volumes=tuple(rows))

    def _end_migration(self, volume_id: str, status: str) -> None:
        self._set_status(volume_id, status)
        rows = (
            dataclasses.replace(each, migration_status=None) if each.id == volume_id else each
            for each in self.world.volumes
        )
        self.world = self.world.but(volumes=tuple(rows))

    def _complete(self, ident: str) -> None:
        rows = (
            dataclasses.replace(each, status="attached") if each.id == ident else each
            for each in self.world.attachments
        )
        connected = {**self.world.connected, ident: str(self._server.host)}
        self.world = self.world.but(attachments=tuple(rows), connected=connected)
        self._recalculate(next(each.volume_id for each in self.world.attachments if each.id == ident))

    def _detach(self, volume_id: str) -> None:
        self._require_unused(volume_id)
        for each in self.world.mappings:
            if each.volume_id == volume_id:
                self._unmap(each)
                if any(row.id == each.attachment_id for row in self.world.attachments):
                    self._delete(str(each.attachment_id), False)

    def _unmap(self, mapping: BlockDeviceMapping) -> None:
        self.world = self.world.but(
            mappings=tuple(each for each in self.world.mappings if each.id != mapping.id),
            tombstones=(*self.world.tombstones, dataclasses.replace(mapping, deleted=True)),
        )

    def _cleanup(self, words: list[str]) -> None:
        options = {each[2:].replace("-", "_"): True for each in words if each.startswith("--")}
        given = {name: options.get(name, False) for name in ("no_host", "restart", "relink", "reattach", "allow_root")}
        connector = self._server.host if "connector" in options else None
        how = policy(
            Door.COMMAND, **given, names_volume="volume" in options, connector_host=connector, assume_deleted=False
        )
        volume_id = words[words.index("--volume") + 1] if "--volume" in words else None
        stops = given["restart"] and self._server.can_be_stopped and bool(self._planned(how, volume_id))
        if stops:
            self._stop()
            self._show()
        done = self._planned(how, volume_id)
        for finding in done:
            self._carry_out(finding)
        if stops:
            self._start(("stopped",))
        if not done:
            raise RefusedError("nothing to do")

    def _planned(self, how: Any, volume_id: str | None) -> list[Finding]:
        return [each for each in changes(self.world, policy=how) if volume_id in (None, each.volume_id)]

    def _carry_out(self, finding: Finding) -> None:
        if finding.remedy is Remedy.REMOVE_MAPPING and finding.mapping:
            beside = [each for each in self.world.mappings if each.volume_id == finding.volume_id]
            if len(beside) == 1 and finding.mapping.is_connected and not self._server.deleted:
                self._require_unused(finding.volume_id)
            self._unmap(finding.mapping)
        elif finding.remedy is Remedy.REMOVE_ATTACHMENT and finding.attachment:
            self._delete(finding.attachment.id, False)
        elif finding.remedy is Remedy.RELINK_MAPPING and finding.mapping and finding.attachment:
            self._name(finding.mapping, finding.attachment.id)
        elif finding.remedy is Remedy.RESTORE_ATTACHMENT and finding.mapping:
            if finding.attachment and finding.attachment.status == "attached":
                self._name(finding.mapping, finding.attachment.id)
                return
            if finding.attachment:
                self._delete(finding.attachment.id, False)
            host = self._server.host
            self._replace(finding.mapping, "attached" if host else "reserved", host)
        elif finding.remedy is Remedy.ROLL_BACK_DETACH:
            self._set_status(finding.volume_id, "in-use")
