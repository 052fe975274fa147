# SPDX-License-Identifier: Apache-2.0
"""The sentences of a finding's evidence, and why a pair without a finding is left alone."""

from __future__ import annotations

from collections.abc import Iterator

from dedangle.core.decisions import Finding, Verdict
from dedangle.core.pair import Pair, ServerState
from dedangle.core.records import Attachment, BlockDeviceMapping, Existence, Server
from dedangle.core.times import utc
from dedangle.core.work import never_ends_from


def why_kept(finding: Finding, pair: Pair) -> str:
    """Return one sentence about a pair that has no code of the table of findings."""
    server_state = pair.server_state
    what = f"Volume {finding.volume_id} of server {finding.server_id}"
    match finding.verdict:
        case Verdict.CANNOT_TELL:
            why = "; ".join(server_state.unread or (pair.other_servers_bdms.why,))
            return f"{what} could not be judged: {why}."
        case Verdict.IN_FLIGHT:
            work = "; ".join(map(str, pair.open_work)) or "its attach or detach"
            return f"{what} is waiting for an operation in progress: {work}.{''.join(_ends(pair))}"
        case Verdict.FOREIGN:
            return f"{what} belongs to another service than Nova: the metadata of the volume names it."
        case Verdict.LEGACY:
            return f"{what} was attached before Cinder had attachments (before Queens). It is healthy and stays."
        case _:
            return f"{what} is consistent."


def _ends(pair: Pair) -> Iterator[str]:
    """Yield for each operation that the pair waits for what ends it, a sentence each with a space before it."""
    server = pair.server_state.server
    for marker in pair.open_work:
        limit = never_ends_from(marker)
        if marker.kind == "host":
            host = server.host if server else "the host"
            evacuate = "" if server is None or server.deleted else " If that host is lost, evacuate the server."
            yield f" It waits until nova-compute on {host} reports again.{evacuate}"
        elif marker.kind == "build":
            yield " It waits until Nova has built the server, or has put it in ERROR."
        elif limit is not None:
            yield f" If it shows no progress until {utc(limit)}, it counts as never ending."
        elif marker.kind == "copy":
            yield " It waits until the resize is confirmed or reverted."
        elif marker.kind == "lock":
            yield " It waits until the command that locked the server ends."


def facts(pair: Pair, mapping: BlockDeviceMapping | None, attachment: Attachment | None) -> Iterator[str]:
    """Yield the facts that were read about the pair, one a line, with full ids."""
    server_state = pair.server_state
    yield _of_server(server_state)
    if mapping:
        yield from _of_mapping(pair, mapping)
    if attachment:
        yield from _of_attachment(pair, attachment, is_named=mapping is not None)
    yield from _of_guests(pair)
    yield from _of_image(pair)
    if (
        server_state.existence is Existence.DELETED
        and attachment
        and not attachment.is_reserved
        and server_state.server
    ):
        yield _what_ended_the_guest(server_state, server_state.server)
    if server_state.server is None and server_state.is_journalled:
        yield f"Journal: dedangle changed server {server_state.server_id} when Nova knew it"
    yield from (*server_state.cinder_is_behind, *server_state.nova_is_behind)
    for volume in pair.volume.rows:
        yield f"Cinder: volume {volume.id} is {volume.status}" + (", multiattach" if volume.multiattach else "")
        if volume.origin:
            yield f"Cinder: volume {volume.id} {volume.origin}"
    if pair.volume.absent:
        yield f"Cinder: volume {pair.volume_id} was not found"
    yield from _of_others(pair)


def _of_server(server_state: ServerState) -> str:
    server = server_state.server
    if server is None:
        return f"Nova: server {server_state.server_id} is {server_state.existence}"
    state = "deleted" if server.deleted else f"{server.vm_state}, task_state {server.task_state or 'none'}"
    host = f"host {server.host} ({server_state.host_state})" if server.host else "no host"
    return f"Nova {server.cell}: server {server.id} is {state}, {host}"


def _of_mapping(pair: Pair, mapping: BlockDeviceMapping) -> Iterator[str]:
    server_state = pair.server_state
    names = f"names attachment {mapping.attachment_id}" if mapping.attachment_id else "names no attachment"
    yield f"Nova {mapping.cell}: mapping {mapping.uuid} (row {mapping.id}) of volume {mapping.volume_id} {names}"
    if mapping.attachment_id in server_state.lost:
        yield f"Cinder: attachment {mapping.attachment_id} was not found, and the server's list does not have it"
        failed = server_state.live_migration_failed_at
        if failed and server_state.failed_to_migrate_since(mapping.changed_at):
            yield f"Nova: a live migration of the server failed at {utc(failed)}"
        for volume in pair.volume.rows:
            if volume.is_of_backup(mapping) and volume.updated_at and mapping.created_at:
                changed, made = utc(volume.updated_at), utc(mapping.created_at)
                yield (
                    f"Cinder: volume {volume.id} last changed at {changed}, before Nova made the mapping at {made}. "
                    "Cinder's database may have been restored from a backup"
                )
    elsewhere = pair.named.get(mapping.attachment_id or "")
    for row in elsewhere.rows if elsewhere else ():
        yield f"Cinder: attachment {row.id} belongs to volume {row.volume_id} and server {row.server_id}"


def _of_attachment(pair: Pair, attachment: Attachment, *, is_named: bool) -> Iterator[str]:
    yield f"Cinder: attachment {attachment.id} of volume {attachment.volume_id} is {attachment.status}"
    if not is_named:
        released = any(tombstone.attachment_id == attachment.id for tombstone in pair.tombstones)
        yield f"Nova: {'a deleted' if released else 'no'} mapping names attachment {attachment.id}"


def _of_others(pair: Pair) -> Iterator[str]:
    for bdm in pair.other_servers_bdms.rows:
        names = f"names attachment {bdm.attachment_id}" if bdm.attachment_id else "names no attachment"
        yield f"Nova {bdm.cell}: server {bdm.server_id} maps the volume and {names}"
    for other in pair.others.rows:
        yield f"Cinder: server {other.server_id} holds attachment {other.id} of the volume ({other.status})"
    concerned = {*pair.other_claimants, *(attachment.server_id for attachment in pair.others.rows)}
    for server in pair.other_servers.rows:
        if server.id in concerned:
            state = "deleted" if server.deleted else f"{server.vm_state}, on {server.host or 'no host'}"
            yield f"Nova {server.cell}: server {server.id} is {state}"


def _of_guests(pair: Pair) -> Iterator[str]:
    for host, reading in pair.server_state.guests.items():
        if not reading.complete:
            yield f"Host {host}: could not be read: {reading.why}"
            continue
        disks = [disk for disk in reading.rows if disk.volume_id == pair.volume_id]
        if not disks:
            yield f"Host {host}: the server's guest does not have a disk of volume {pair.volume_id}"
        for disk in disks:
            has = "the server's guest has" if disk.is_running else "only the domain for the server's next start has"
            yield f"Host {host}: {has} a disk of volume {pair.volume_id}: {disk.place}"
        for disk in reading.rows:
            if not disk.is_recognised:
                yield (
                    f"Host {host}: the disk {disk.place} has the serial of volume {disk.volume_id}, but Nova's "
                    "mapping of that volume connects to another device"
                )


def _of_image(pair: Pair) -> Iterator[str]:
    if pair.watchers is not None and pair.watchers.complete:
        clients = ", ".join(sorted(pair.watchers.rows)) or "no client"
        yield f"Ceph: the RBD image of volume {pair.volume_id} is open by {clients}"


def _what_ended_the_guest(server_state: ServerState, server: Server) -> str:
    """Return the proof for removing a connected attachment of a deleted server."""
    answered = sorted(filter(server_state.has_answered, server_state.guests))
    if answered:
        return f"Proof that the guest has ended: the answer of host {', '.join(answered)}"
    if server.may_still_run:
        return "No proof that the guest has ended: Nova deleted the server while its host was down"
    return "Proof that the guest has ended: Nova's record that nova-compute ended it; no host answers dedangle"
