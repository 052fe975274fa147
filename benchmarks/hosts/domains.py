# SPDX-License-Identifier: Apache-2.0
"""Domains as Nova's libvirt driver writes them, and a driver that has them instead of libvirt."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any

from nova import objects

_DISK = """
    <disk type='network' device='disk'>
      <driver name='qemu' type='raw' cache='writeback' discard='unmap'/>
      <auth username='cinder'><secret type='ceph' uuid='457eb676-33da-42ec-9a8c-9293d545c337'/></auth>
      <source protocol='rbd' name='volumes/volume-{volume}' index='{index}'>
        <host name='192.0.2.11' port='6789'/><host name='192.0.2.12' port='6789'/><host name='192.0.2.13' port='6789'/>
      </source>
      <target dev='vd{letter}' bus='virtio'/>
      <iotune><total_bytes_sec>104857600</total_bytes_sec><total_iops_sec>1000</total_iops_sec></iotune>
      <serial>{volume}</serial>
      <alias name='ua-{volume}'/>
      <address type='pci' domain='0x0000' bus='0x{index:02x}' slot='0x00' function='0x0'/>
    </disk>"""
_PORT = """
    <controller type='pci' index='{index}' model='pcie-root-port'>
      <model name='pcie-root-port'/><target chassis='{index}' port='0x{index:x}'/><alias name='pci.{index}'/>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x02' function='0x{index:x}'/>
    </controller>"""
_DOMAIN = """<domain type='kvm' id='7'>
  <name>instance-{number:08x}</name>
  <uuid>{server}</uuid>
  <metadata>
    <nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1">
      <nova:package version="31.0.0"/><nova:name>web-{number}</nova:name>
      <nova:creationTime>2026-01-01 00:00:00</nova:creationTime>
      <nova:flavor name="m1.large"><nova:memory>8192</nova:memory><nova:disk>0</nova:disk></nova:flavor>
      <nova:owner><nova:user uuid="0123456789">u</nova:user><nova:project uuid="0123">p</nova:project></nova:owner>
      <nova:ports><nova:port uuid="{server}"><nova:ip address="192.0.2.9"/></nova:port></nova:ports>
    </nova:instance>
  </metadata>
  <memory unit='KiB'>8388608</memory><vcpu placement='static'>4</vcpu>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type><boot dev='hd'/></os>
  <features><acpi/><apic/></features>
  <cpu mode='custom' match='exact'><model>Cascadelake-Server</model>{features}</cpu>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>{disks}{ports}
    <interface type='bridge'><mac address='fa:16:3e:00:00:01'/><source bridge='br-int'/><target dev='tap1'/></interface>
    <serial type='pty'><log file='/var/lib/nova/instances/{server}/console.log' append='off'/></serial>
    <graphics type='vnc' port='5900' autoport='yes' listen='0.0.0.0'/>
    <memballoon model='virtio'><stats period='10'/></memballoon><rng model='virtio'/>
  </devices>
</domain>"""
_FEATURES = "".join(f"<feature policy='require' name='feature-{number}'/>" for number in range(40))


class Domain:
    def __init__(self, number: int, server: str, volumes: Sequence[str]) -> None:
        self.uuid = server
        self.volumes = volumes
        disks = "".join(
            _DISK.format(volume=volume, index=at + 1, letter=chr(ord("a") + at)) for at, volume in enumerate(volumes)
        )
        ports = "".join(_PORT.format(index=at) for at in range(1, 25))
        self.text = _DOMAIN.format(number=number, server=server, disks=disks, ports=ports, features=_FEATURES)

    def get_xml_desc(self, dump_inactive: bool = False) -> str:  # noqa: ARG002 -- Nova's
        return self.text

    def is_active(self) -> bool:
        return True


class Driver:
    """Nova's class by its module, which is how dedangle knows a driver; its libvirt has these domains."""

    __module__ = "nova.virt.libvirt.driver"

    def __init__(self, domains: Sequence[Domain]) -> None:
        self._host = self
        self._domains = domains

    def list_guests(self, only_running: bool = True) -> Sequence[Domain]:  # noqa: ARG002 -- Nova's
        return self._domains


def some_domains(count: int, disks: int) -> list[Domain]:
    """Domains of servers and volumes that are nobody's."""
    return [Domain(number, _ident(), [_ident() for _ in range(disks)]) for number in range(count)]


def bdms(domains: Sequence[Domain]) -> Any:
    """The block device mappings of the domains' volumes, as nova-conductor reads them."""
    found = objects.BlockDeviceMappingList(objects=[])
    for domain in domains:
        for volume in domain.volumes:
            info = {"driver_volume_type": "rbd", "data": {"name": f"volumes/volume-{volume}", "hosts": ["x" * 20] * 3}}
            bdm = objects.BlockDeviceMapping(
                id=len(found.objects) + 1,
                uuid=_ident(),
                instance_uuid=domain.uuid,
                volume_id=volume,
                attachment_id=_ident(),
                source_type="volume",
                destination_type="volume",
                connection_info=json.dumps({**info, "rest": "c" * 1000}),
                deleted=False,
                deleted_at=None,
            )
            for name, field in bdm.fields.items():
                if field.nullable and not bdm.obj_attr_is_set(name):
                    setattr(bdm, name, None)
            bdm.obj_reset_changes()
            found.objects.append(bdm)
    return found


def _ident() -> str:
    return str(uuid.uuid4())
