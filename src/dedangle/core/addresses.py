# SPDX-License-Identifier: Apache-2.0
"""Read the address at which a host connects a volume from a connection_info. No result contains a secret."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator
from collections.abc import Mapping as MappingType
from typing import Any

from dedangle.core.records import Refusal

Key = tuple[str, ...]

# Fields that say how a volume is used or where a host found it, but not where it is.
_NO_ADDRESS = frozenset(
    {
        *("access_mode", "attachment_id", "cacheable", "discard", "encrypted", "enforce_multipath", "qos_specs"),
        *("device_path", "logical_block_size", "multipath_id", "physical_block_size", "volume_id", "wwn"),
    }
)
_FOUND_BY_HOST = frozenset({"device_path", "multipath_id"})
_SECRET = re.compile("auth|password|secret|token|keyring|key$", re.IGNORECASE)
# NAA and EUI identifiers as udev writes them. Any other name may be a friendly name of multipathd.
_WWN = re.compile("[23](?:[0-9a-f]{16}|[0-9a-f]{24}|[0-9a-f]{32})")
_PATH_OF_WWN = re.compile("/dev/(?:disk/by-id/(?:dm-uuid-mpath-|scsi-)|mapper/)([0-9a-f]+)")
_PATH_OF_NAA = re.compile("/dev/disk/by-id/wwn-0x([0-9a-f]+)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Connection:
    """The connection in a live mapping of a server on the host."""

    server_id: str
    volume_id: str
    is_attaching: bool
    """Whether it names an attachment and has no connection_info yet."""
    connection_info: MappingType[str, Any] = dataclasses.field(default_factory=dict, repr=False)


def conflict(connection_info: MappingType[str, Any], others: Iterable[Connection]) -> Refusal | None:
    """Return why another connection may use the address of this connection."""
    mine = keys(connection_info)
    if not mine:
        return Refusal("its mapping has no address that could be compared")
    for other in others:
        if other.is_attaching:
            return Refusal(
                f"server {other.server_id} is attaching volume {other.volume_id}, whose address is not known yet"
            )
        theirs = keys(other.connection_info)
        if other.connection_info and not theirs:
            return Refusal(
                f"the address of volume {other.volume_id} of server {other.server_id} on the host is unknown"
            )
        if mine & theirs:
            return Refusal(f"server {other.server_id} on the host uses the same address for volume {other.volume_id}")
    return None


def is_same(one: MappingType[str, Any], other: MappingType[str, Any]) -> bool:
    """Whether two connections of one volume lead to the same device; secrets and portals are not compared.

    False if only one of them has an address.
    """
    kind = one.get("driver_volume_type")
    mine, theirs = _told_by_cinder(one), _told_by_cinder(other)
    # A storage array offers each host some of its targets, so one common target is enough.
    return kind == other.get("driver_volume_type") and (bool(mine & theirs) or mine == theirs)


def is_elsewhere(one: MappingType[str, Any], other: MappingType[str, Any]) -> bool:
    """Whether the other connection has no address in common with the first; False if the first has no address."""
    mine = _told_by_cinder(one)
    return bool(mine) and not mine & _told_by_cinder(other)


def _told_by_cinder(connection_info: MappingType[str, Any]) -> frozenset[Key]:
    """Return the addresses that Cinder returned, without what the host added when it connected the volume."""
    found_by_host = set() if connection_info.get("driver_volume_type") == "local" else _FOUND_BY_HOST
    data = {name: value for name, value in _data(connection_info).items() if name not in found_by_host}
    return keys({**connection_info, "data": data})


def keys(connection_info: MappingType[str, Any]) -> frozenset[Key]:
    """Return all addresses of the volume. Two connections with a common address may lead to the same device.

    Targets are compared without their portals, because a target has many and each host gets some of them. If no known
    field is found, all fields count that are not secret. An empty set means that the address is unknown.
    """
    data = _data(connection_info)
    found = {("source", each) for each in sources(connection_info)}
    if data.get("multipath_id"):
        found.add(("multipath", str(data["multipath_id"])))
    specific = {("target", *each) for each in targets(connection_info)} | set(_names(connection_info))
    if not specific:
        rest = {key: value for key, value in data.items() if key not in _NO_ADDRESS and not _SECRET.search(key)}
        if rest:
            kind = str(connection_info.get("driver_volume_type"))
            specific = {("data", kind, json.dumps(rest, sort_keys=True, default=str))}
    return frozenset(found | specific)


def sources(connection_info: MappingType[str, Any]) -> frozenset[str]:
    """Return the `<source>` of the volume's disk in a libvirt domain: a device, a file or an RBD image."""
    data = _data(connection_info)
    found = data.get("name") if connection_info.get("driver_volume_type") == "rbd" else None
    return frozenset(str(each) for each in (found, data.get("device_path")) if each)


def targets(connection_info: MappingType[str, Any]) -> frozenset[tuple[str, str]]:
    """Return each pair of a target (IQN, WWN or NQN) and the LUN or namespace behind it."""
    data = _data(connection_info)
    return frozenset({*_scsi_targets(data), *_mapped_targets(data), *_nvme_targets(data)})


def recorded_wwn(connection_info: MappingType[str, Any]) -> str:
    """Return the WWN of the volume from when the host connected it; empty if none was recorded."""
    data = _data(connection_info)
    path = str(data.get("device_path") or "")
    by_id, naa = _PATH_OF_WWN.fullmatch(path), _PATH_OF_NAA.fullmatch(path)
    candidates = (
        data.get("multipath_id"),
        by_id.group(1) if by_id else None,
        f"3{naa.group(1)}" if naa else None,
        data.get("wwn"),
    )
    words = (str(name).lower() for name in candidates if name)
    return next((each for each in words if is_wwn(each)), "")


def is_wwn(word: str) -> bool:
    """Whether the word is an NAA or EUI identifier as udev writes it."""
    return _WWN.fullmatch(word) is not None


def _data(connection_info: MappingType[str, Any]) -> MappingType[str, Any]:
    data = connection_info.get("data")
    return data if isinstance(data, dict) else {}


def _names(connection_info: MappingType[str, Any]) -> Iterator[Key]:
    data = _data(connection_info)
    if connection_info.get("driver_volume_type") == "rbd" and data.get("name"):
        yield ("rbd", str(data["name"]))
    if data.get("export") and data.get("name"):
        yield ("export", str(data["export"]), str(data["name"]))


def _scsi_targets(data: MappingType[str, Any]) -> Iterator[tuple[str, str]]:
    luns = _list(data.get("target_lun"))
    for singular, plural in (("target_iqn", "target_iqns"), ("target_wwn", "target_wwns")):
        if luns:
            yield from ((_target(each), _lun(luns[0])) for each in _list(data.get(singular)))
        names, their_luns = _list(data.get(plural)) or _list(data.get(singular)), _list(data.get("target_luns")) or luns
        if len(their_luns) == 1:
            their_luns = their_luns * len(names)
        yield from ((_target(name), _lun(lun)) for name, lun in zip(names, their_luns, strict=False))


def _mapped_targets(data: MappingType[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the targets that a Fibre Channel driver returns for each initiator."""
    for targets_of in _dicts(data.get("initiator_target_map")):
        for lun in _list(data.get("target_lun")):
            yield from ((_target(each), _lun(lun)) for each in _list(targets_of))
    for pairs in _dicts(data.get("initiator_target_lun_map")):
        yield from ((_target(pair[0]), _lun(pair[1])) for pair in pairs if len(pair) == 2)


def _nvme_targets(data: MappingType[str, Any]) -> Iterator[tuple[str, str]]:
    replicas = [each for each in _list(data.get("volume_replicas")) if isinstance(each, dict)]
    for each in (data, *replicas):
        nqn = each.get("target_nqn") or each.get("nqn") or each.get("subsysnqn")
        if nqn:
            names = ("ns_id", "target_nsid", "volume_nguid", "vol_uuid", "uuid")
            named = [(_target(nqn), _target(each[name])) for name in names if each.get(name)]
            # A driver without namespaces has one subsystem for each volume.
            yield from named or [(_target(nqn), "")]


def _list(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _dicts(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else []


def _target(name: Any) -> str:
    return str(name).lower().removeprefix("0x").replace(":", "") if _is_port_name(str(name)) else str(name).lower()


def _is_port_name(name: str) -> bool:
    return re.fullmatch("(?:0x)?(?:[0-9a-f]{2}:?){8}", name.lower()) is not None


def _lun(lun: Any) -> str:
    text = str(lun)
    return str(int(text)) if text.isdecimal() else text
