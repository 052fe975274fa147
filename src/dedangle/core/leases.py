# SPDX-License-Identifier: Apache-2.0
"""Whether a connection that Cinder has released may still be used: its address may be another volume's by now."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any

_WWN = re.compile(r"^/dev/disk/by-id/(?:dm-uuid-mpath-|scsi-|wwn-0x)([0-9a-fA-F]+)$")
# What may differ between two connections of one device, or is a secret.
_IGNORED = re.compile(r"auth|password|secret|user|discard|qos|access_mode|encrypted|cacheable|keyring|volume_id")


@dataclasses.dataclass(frozen=True)
class Lease:
    """Whether the host may disconnect by an address; `why` tells what speaks against it, without a secret."""

    why: str = ""

    @property
    def may_disconnect(self) -> bool:
        return not self.why


@dataclasses.dataclass(frozen=True)
class Neighbour:
    """Another live mapping of a server on the host; without a connection it is in the middle of an attach."""

    server_id: str
    volume_id: str
    connection_info: Mapping[str, Any] | None


def source_of(connection_info: Mapping[str, Any]) -> str:
    """Return what libvirt names in the <source> of a disk with this connection; empty if that cannot be told.

    nova virt/libvirt/volume/net.py names an RBD image, the other drivers the device path that os-brick gave them.
    """
    data = connection_info.get("data") or {}
    named = data.get("name") if connection_info.get("driver_volume_type") == "rbd" else data.get("device_path")
    return str(named or "")


def addresses(connection_info: Mapping[str, Any]) -> frozenset[str]:
    """Return all that names the device: two connections that share one of them may be the same device."""
    data = connection_info.get("data") or {}
    found = set(_addresses(data))
    return frozenset(found) if found else frozenset({_all_of(data)})


def recorded_wwn(connection_info: Mapping[str, Any]) -> str:
    """Return the WWN that Nova noted when it connected the volume, as udev writes it; empty if it noted none."""
    data = connection_info.get("data") or {}
    in_path = _WWN.match(str(data.get("device_path") or ""))
    return str(data.get("multipath_id") or (in_path.group(1) if in_path else ""))


def lease(
    connection_info: Mapping[str, Any], source: str, in_guests: Iterable[str], others: Iterable[Neighbour]
) -> Lease:
    """Tell whether the address is nobody else's on the host.

    source is what libvirt calls the device; in_guests are the sources of the disks of all other domains.
    """
    if source and source in set(in_guests):
        return Lease(f"the guest of another server has the device {source}")
    own = addresses(connection_info)
    for other in others:
        if other.connection_info is None:
            return Lease(
                f"volume {other.volume_id} is being attached to server {other.server_id}: its address is not known yet"
            )
        shared = sorted(own & addresses(other.connection_info))
        if shared:
            return Lease(f"volume {other.volume_id} of server {other.server_id} has the same address ({shared[0]})")
    return Lease()


def _addresses(data: Mapping[str, Any]) -> Iterator[str]:
    for name in ("device_path", "multipath_id"):
        if data.get(name):
            yield f"{name} {data[name]}"
    luns = _all(data, "target_lun", "target_luns")
    iqns = _all(data, "target_iqn", "target_iqns")
    # os-brick pairs the two lists by place; a target that is named with any of the LUNs is near enough.
    for target, lun in product((*iqns, *_all(data, "target_wwn", "target_wwns")), luns):
        yield f"target {target}, LUN {lun}"
    for nqn, space in product(_all(data, "target_nqn", "nqn"), _all(data, "volume_nguid", "vol_uuid", "ns_id")):
        yield f"NVMe subsystem {nqn}, namespace {space}"
    if data.get("export"):
        yield f"export {data['export']}, file {data.get('name')}"
    elif data.get("name"):
        yield f"image {data['name']}"


def _all(data: Mapping[str, Any], *names: str) -> tuple[str, ...]:
    values = [data[name] for name in names if data.get(name) is not None]
    return tuple(str(each) for value in values for each in (value if isinstance(value, (list, tuple)) else [value]))


def _all_of(data: Mapping[str, Any]) -> str:
    """The connection of a driver that is not known, but for secrets."""
    kept = {name: value for name, value in data.items() if not _IGNORED.search(name)}
    return json.dumps(kept, sort_keys=True, default=str)
