# SPDX-License-Identifier: Apache-2.0
"""The facts behind a finding, and why what is no finding is left alone, in words."""

from __future__ import annotations

from collections.abc import Iterator

from dedangle.core.records import Attachment, Finding, Mapping, Pair, Verdict


def why_kept(finding: Finding, pair: Pair) -> str:
    """One sentence on a pair that no code of the table names."""
    scene = pair.scene
    what = f"Volume {finding.volume_id} of server {finding.server_id}"
    match finding.verdict:
        case Verdict.CANNOT_TELL:
            return f"{what}: cannot tell, {'; '.join(scene.unread or (pair.rivals.why,))}."
        case Verdict.IN_FLIGHT:
            return f"{what} is in flight: {'; '.join(map(str, scene.markers)) or 'its attachment is on its way'}."
        case Verdict.FOREIGN:
            return f"{what} belongs to another service than Nova, as the volume's metadata says."
        case Verdict.LEGACY:
            return f"{what} was attached without Cinder attachments (before Queens): it is healthy and left alone."
        case _:
            return f"{what} is consistent."


def facts(pair: Pair, mapping: Mapping | None, attachment: Attachment | None) -> Iterator[str]:
    """What was read of the pair, one fact a line, with every id in full."""
    scene, server = pair.scene, pair.scene.server
    if server:
        state = "deleted" if server.deleted else f"{server.vm_state}, task_state {server.task_state or 'none'}"
        host = f"host {server.host} ({scene.host_state})" if server.host else "no host"
        yield f"Nova {server.cell}: server {server.id} is {state}, {host}"
    else:
        yield f"Nova: server {scene.server_id} is {scene.life}"
    if mapping:
        names = f"names attachment {mapping.attachment_id}" if mapping.attachment_id else "names no attachment"
        yield f"Nova {mapping.cell}: mapping {mapping.uuid} (row {mapping.id}) of volume {mapping.volume_id} {names}"
        if mapping.attachment_id in scene.lost:
            yield f"Cinder: attachment {mapping.attachment_id} is not found, and not in the server's list"
        stray = pair.named.get(mapping.attachment_id or "")
        for row in stray.rows if stray else ():
            yield f"Cinder: attachment {row.id} is of volume {row.volume_id} and server {row.server_id}"
    if attachment:
        yield f"Cinder: attachment {attachment.id} of volume {attachment.volume_id} is {attachment.status}"
        if not mapping:
            released = any(each.attachment_id == attachment.id for each in pair.tombstones)
            yield f"Nova: {'a deleted' if released else 'no'} mapping names attachment {attachment.id}"
    for asked, reading in scene.guests.items():
        if reading.complete:
            has = "has" if any(each.volume_id == pair.volume_id for each in reading.rows) else "does not have"
            yield f"Host {asked}: the server's guest {has} a disk of volume {pair.volume_id}"
        else:
            yield f"Host {asked}: cannot tell, {reading.why}"
    for volume in pair.volume.rows:
        yield f"Cinder: volume {volume.id} is {volume.status}" + (", multiattach" if volume.multiattach else "")
    if pair.volume.absent:
        yield f"Cinder: volume {pair.volume_id} is not found"
    for rival in pair.rivals.rows:
        yield f"Nova {rival.cell}: server {rival.server_id} maps the volume and names attachment {rival.attachment_id}"
    for other in pair.others.rows:
        yield f"Cinder: server {other.server_id} holds attachment {other.id} of the volume ({other.status})"
