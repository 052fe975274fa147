# SPDX-License-Identifier: Apache-2.0
"""The commands of Nova's, Cinder's and libvirt's own clients for a finding that dedangle itself has no remedy for.

The file is long because each state has its own commands. `commands` is the table of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timezone

from dedangle.core.decisions import Finding
from dedangle.core.pair import Pair, ServerState
from dedangle.core.pairing import may_be_in_use
from dedangle.core.records import SOFT_DELETED, Attachment, Server, Volume
from dedangle.core.sharing import is_root
from dedangle.core.work import QUIET_MIGRATION, SETTLED

# Without -c, virsh shows the session of a user who is not root: it has no guest, whatever runs on the host.
VIRSH = "virsh -c qemu:///system"
# `server stop` returns at once, but the guest may take a minute to shut down.
STOP = (
    "openstack server stop {server}",
    'until [ "$(openstack server show -f value -c status {server})" = SHUTOFF ]; do sleep 2; done',
)
# How to bring a paused, suspended or rescued server to ACTIVE. Only a server in ACTIVE or ERROR can be stopped.
_TO_ACTIVE = {"paused": "unpause", "suspended": "resume", "rescued": "unrescue"}
# Nova then makes new attachments, and connects them in the unshelve.
OFFLOAD = "openstack server shelve --offload --wait {server}"
_STARTS = re.compile("openstack server (start|reboot)|volume_attachment refresh|cleanup .*--restart")


def commands(finding: Finding, pair: Pair) -> Iterator[str]:
    """Yield the commands of the way out, in order; none if the operator must first decide something."""
    state, server = pair.server_state.server, finding.server_id
    match finding.code:
        case "transition-stuck":
            yield from _end_of_transition(finding, pair)
        case "volume-status-wrong":
            yield from (set_status(volume, "in-use", is_attached=True) for volume in pair.volume.rows)
            yield from _detach_of_unused(pair)
        case "work-never-ends":
            yield from _end_of_work(pair)
        case "mapping-without-connection" if state is not None and state.is_rebooted_at_once:
            # Only a hard reboot reads the connection from Cinder.
            yield hard_reboot(server)
        case "volume-in-use-elsewhere":
            yield from _without_right(pair)
        case "migration-half-done" | "mapping-without-connection":
            yield from _refreshed(pair)
        case "attachment-shares-host" | "attachment-failed" if state is not None and state.is_without_host:
            yield from _deletion_without_guest(finding, pair)
        case "attachment-unknown-to-nova" if not (pair.server_state.unproved or pair.server_state.nova_is_behind):
            yield from _deletion_without_guest(finding, pair)
        case "attachment-shares-host" | "attachment-failed" if _is_twin(pair, finding) and finding.attachment:
            # Its deletion may end the connection of the other attachment. The refresh makes that connection again.
            yield from _refreshed(pair, delete(finding.attachment.id))


def activate(vm_state: str | None) -> tuple[str, ...]:
    """Return the commands that bring the server to ACTIVE, and wait for it; none if it needs no such command."""
    command = _TO_ACTIVE.get(vm_state or "")
    if command is None:
        return ()
    wait = 'until [ "$(openstack server show -f value -c status {server})" = ACTIVE ]; do sleep 2; done'
    return (f"openstack server {command} {{server}}", wait)


def _without_right(pair: Pair) -> Iterator[str]:
    """Yield what ends the server without right to the volume; nothing if both have an attachment, or none of them."""
    ident, own = pair.server_without_right, pair.server_state.server
    is_own = ident == pair.server_state.server_id
    has_right = any(each.status == "attached" for each in pair.attachments)
    if is_own and (has_right or not any(each.server_id == pair.other_holder for each in pair.others.rows)):
        return
    known = next((each for each in (own, *pair.other_servers.rows) if each and each.id == ident), None)
    if known is None or known.may_have_guest:
        # An unpause or a resume would let it write; a shelve powers it off.
        is_paused = known is not None and known.vm_state in ("paused", "suspended")
        ends = ("openstack server shelve --wait {server}",) if is_paused else STOP
        yield from (line.format(server=ident) for line in ends)
    has_it_as_root = is_own and any(is_root(pair, mapping) for mapping in pair.mappings)
    yield f"dedangle cleanup {ident}{' --allow-root' if has_it_as_root else ''} --no-host --execute"


def _end_of_transition(finding: Finding, pair: Pair) -> Iterator[str]:
    volume = next(iter(pair.volume.rows), None)
    if volume is None:
        return
    own = next((each for each in pair.attachments if each.id == finding.attachment_id), None)
    others_attached = any(each.status == "attached" for each in pair.attachments if each is not own)
    half_made = [each for each in (pair.attachments if own is None else (own,)) if each.status == "attaching"]
    mapping = next(iter(pair.mappings), None)
    is_without_host = pair.server_state.server is not None and pair.server_state.server.is_without_host
    if len(pair.mappings) > 1:
        # Which of the mappings remains is decided after that.
        yield set_status(volume, "in-use" if pair.attachments or pair.others.rows else "available")
    elif mapping is None or own is None or own.status == "attached":
        if mapping is not None and len(half_made) == 1 and not others_attached:
            yield _complete(half_made[0])
            return
        # This rolls a detach back: the guest keeps its disk, and the user can detach the volume again. Without a
        # mapping the attachment is judged by itself then.
        yield set_status(volume, "in-use")
        if mapping is not None and own is not None:
            yield from _detach_of_unused(pair)
    elif others_attached or any(each.status == "attached" for each in pair.others.rows):
        if volume.status != "in-use":
            yield set_status(volume, "in-use")
    elif own.status == "reserved" and volume.status != "reserved" and is_without_host:
        # An unshelve connects the volume. Until then a reservation is the normal state.
        yield set_status(volume, "reserved")
    elif own.status == "attaching":
        yield _complete(own)
    elif own.status in ("detached", "error_detaching") and not _is_unused(pair):
        # The detach has failed, or rows were edited: the guest may have the disk, and keeps it.
        yield _complete(own)
    elif own.status != "error_detaching" and (mapping.has_connection_info or is_root(pair, mapping)):
        # Cinder refuses a second connection: core/deletions.py ends the first one.
        is_alone = not any(may_be_in_use(each) for each in pair.attachments if each is not own)
        yield from _refreshed(pair) if is_alone else ()
    else:
        # Nothing was connected, or the detach failed: Nova's own detach removes the rows on both sides.
        yield set_status(volume, "in-use", is_attached=True)
        yield f"openstack server remove volume {finding.server_id} {volume.id}"


def may_be_used_unattached(pair: Pair) -> bool:
    """Whether a guest may use the volume, although Cinder has no attachment of it. It must not be available then."""
    state = pair.server_state
    own_host = state.server.host if state.server else None
    may_be_used = bool(pair.mappings) and state.may_write and not state.guest_lacks(pair.volume_id, {own_host})
    return may_be_used or not pair.other_servers_bdms.absent


def kept_status(status: str) -> str:
    """Return the status to set again after a deletion that overwrites the given one; the client takes only some."""
    return status if status in ("error", "error_deleting") else "error"


def set_status(volume: Volume, status: str, *, is_attached: bool = False) -> str:
    """Return the command that sets the status of a volume, and its attach_status to attached if asked.

    Without a reset of the migration_status, a migration that died would still seem to be in progress. The openstack
    client cannot reset it.
    """
    if volume.migration_status not in QUIET_MIGRATION:
        attached = "--attach-status attached " if is_attached else ""
        return f"cinder reset-state --state {status} {attached}--reset-migration-status {volume.id}"
    attached = "--attached " if is_attached else ""
    return f"openstack volume set --state {status} {attached}{volume.id}"


def delete(attachment_id: str) -> str:
    """Return the command that deletes an attachment; Cinder refuses it if Nova names the attachment."""
    return f"openstack --os-volume-api-version 3.27 volume attachment delete {attachment_id}"


def _may_be_active(server: Server) -> bool:
    """Whether Nova's record of the server may become ACTIVE: not without a host, nor while its state has an owner."""
    return bool(server.host) and server.vm_state not in ("resized", SOFT_DELETED)


def reset_to_active(server_id: str) -> str:
    """Return the command that makes Nova's record of the server ACTIVE, and changes nothing on its host."""
    return f"openstack server set --state active {server_id}"


def hard_reboot(server_id: str) -> str:
    """Return the command that powers the server off and on, and waits for it."""
    return f"openstack server reboot --hard --wait {server_id}"


def starts(command: str) -> bool:
    """Whether the command leaves the server running."""
    return re.search("openstack server (start|reboot|unshelve)", command) is not None


def _complete(attachment: Attachment) -> str:
    return f"openstack --os-volume-api-version 3.44 volume attachment complete {attachment.id}"


def _detach_of_unused(pair: Pair) -> Iterator[str]:
    """Yield Nova's own detach of a volume that the guest is proved to lack; Nova refuses it for a root disk."""
    if _is_unused(pair) and not any(is_root(pair, mapping) for mapping in pair.mappings):
        yield f"openstack server remove volume {pair.server_state.server_id} {pair.volume_id}"


def _is_unused(pair: Pair) -> bool:
    state = pair.server_state
    return state.server is not None and state.guest_lacks(pair.volume_id, {state.server.host})


def _is_twin(pair: Pair, finding: Finding) -> bool:
    """Whether the attachment is connected where the one is that the mapping names, and no other server has the volume.

    A host that Cinder does not show may be the same one.
    """
    named = {mapping.attachment_id for mapping in pair.mappings}
    volume = next(iter(pair.volume.rows), None)
    own = next((each for each in pair.attachments if each.id in named and each.status == "attached"), None)
    if volume is None or own is None or len(pair.mappings) != 1 or finding.attachment_id in named:
        return False
    host = volume.host_of(finding.attachment_id or "")
    was_completed = finding.attachment is not None and finding.attachment.status == "attached"
    alone = pair.others.absent and pair.other_servers_bdms.absent
    return alone and (not was_completed or host == volume.host_of(own.id))


def _deletion_without_guest(finding: Finding, pair: Pair) -> Iterator[str]:
    """Yield the deletion of a connected attachment of a server that is off, on another host, or on none.

    Cinder refuses to connect the volume for an unshelve while another attachment is connected. libvirt on the host of
    the attachment must first answer that the guest does not run there.
    """
    server, attachment = pair.server_state.server, finding.attachment
    alone = pair.others.absent and pair.other_servers_bdms.absent
    volume = next(iter(pair.volume.rows), None)
    if not (alone and attachment and server and volume):
        return
    held_on = volume.host_of(attachment.id)
    # Cinder shows no host for an attachment that was never completed. Then the guest may be where the others are.
    hosts = sorted({held_on} if held_on else {host for _, host in volume.hosts})
    # Without any mapping there was no volume swap, whose new volume has the data of the guest.
    may_be_swapped = finding.code == "attachment-unknown-to-nova" and bool(pair.server_state.mapped)
    if held_on and server.host and held_on != server.host:
        # The guest can only use a connection of the host that it is on.
        checks = [no_guest_on(held_on, server.id)]
    elif server.is_without_host and not may_be_swapped and (hosts or attachment.status != "attached"):
        checks = [no_guest_on(host, server.id) for host in hosts]
    elif held_on and server.is_stopped and not may_be_swapped:
        checks = [guest_is_off_on(held_on, server.id)]
    else:
        return
    yield " && ".join((*checks, delete(attachment.id)))
    if volume.status not in SETTLED:
        # Cinder recalculates the status when an attachment is deleted.
        yield set_status(volume, kept_status(volume.status))


def _refreshed(pair: Pair, *before: str) -> Iterator[str]:
    """Yield what gives the server a new attachment of the volume, which Nova does for a stopped server alone."""
    state = pair.server_state.server
    if state is None or state.host is None or state.task_state:
        return
    if state.vm_state == "shelved":
        yield OFFLOAD.format(server=state.id)
        return
    is_off = state.is_stopped and state.vm_state == "stopped"
    to_active = activate(state.vm_state)
    if not (is_off or to_active or state.vm_state in ("active", "error")):
        return
    if not is_off:
        yield from (line.format(server=state.id) for line in (*to_active, *STOP))
    yield from before
    yield f"ssh {state.host} nova-manage volume_attachment get_connector --json > connector.json"
    yield f"nova-manage volume_attachment refresh {state.id} {pair.volume_id} connector.json"
    if not is_off:
        yield f"openstack server start {state.id}"


def before_second_guest(pair: Pair, finding: Finding, lines: tuple[str, ...]) -> tuple[str, ...]:
    """Return the lines; if they lead to a start of the server, a guest on another host is looked for and ended first.

    After a live migration that died the guest may run on the host of any of its attachments. A guest that was seen
    there is shut down. Each of these hosts that is silent is asked by the first line.
    """
    state, volume = pair.server_state, next(iter(pair.volume.rows), None)
    leads_to_start = finding.code == "migration-half-done" or any(_STARTS.search(line) for line in lines)
    if not lines or not leads_to_start or state.server is None:
        return lines
    if pair.other_writers and not (volume and volume.multiattach):
        # Another server may write to the volume meanwhile.
        return ()
    elsewhere = hosts_with_second_guest(state, pair.volume_id)
    if elsewhere:
        return shut_down_guest(elsewhere[0], state.server_id)
    if volume is None and any(each.status == "attached" for each in pair.attachments):
        # Cinder does not show where they are connected.
        return ()
    if volume is None or state.server.host in state.hosts_with_disk(pair.volume_id):
        return lines
    held = {volume.host_of(each.id) for each in pair.attachments}
    silent = sorted(host for host in held if host and host != state.server.host and not state.has_answered(host))
    checks = [f"{no_guest_on(host, state.server_id)} && " for host in silent]
    return ("".join(check for check in checks if check not in lines[0]) + lines[0], *lines[1:])


def hosts_with_second_guest(state: ServerState, volume_id: str) -> list[str]:
    """Return the hosts other than the server's own where a guest of it runs with the disk; none if it has no host."""
    own_host = state.server.host if state.server else None
    return [host for host in state.hosts_with_disk(volume_id) if host != own_host] if own_host else []


def destroy_guest(host: str, server_id: str) -> str:
    """Return the command that ends a guest of a deleted server at once."""
    return f"ssh {host} {VIRSH} destroy {server_id}"


def without_deleted_guest(pair: Pair, lines: tuple[str, ...]) -> tuple[str, ...]:
    """Return the lines; if they skip the host of a deleted server whose guest may still run, that guest is ended first.

    A host without nova-compute may still run the guest. If nobody can log in to it, nothing is removed.
    """
    server = pair.server_state.server
    if server is None or not server.host or not server.may_still_run or "--no-host" not in lines[-1]:
        return lines
    check = no_running_guest_on(server.host, server.id)
    return (destroy_guest(server.host, server.id), *lines[:-1], f"{check} && {lines[-1]}")


def shut_down_guest(host: str, server_id: str) -> tuple[str, ...]:
    """Return the commands that end a guest on a host where Nova cannot stop it."""
    return (
        f"ssh {host} {VIRSH} shutdown {server_id}",
        # An end of the list that libvirt did not give is no end of the guest.
        f"until {no_running_guest_on(host, server_id)}; do sleep 2; done",
    )


def no_guest_on(host: str, server_id: str) -> str:
    """Return the command that succeeds if libvirt answers on the host and has no guest of the server."""
    return f"ssh {host} '{VIRSH} list && ! {VIRSH} dominfo {server_id}'"


def no_running_guest_on(host: str, server_id: str) -> str:
    """Return the command that succeeds if libvirt answers on the host, and no guest of the server runs there."""
    return f"ssh {host} '{VIRSH} list && ! {VIRSH} list --uuid | grep -q {server_id}'"


def cinder_is_newer_than(moment: datetime) -> str:
    """Return the command that succeeds if Cinder's newest volume was created after the moment.

    A database of Cinder that was restored from a backup has nothing that is newer than the backup.
    """
    # Cinder lists the newest volume first. --limit would only set the size of the pages that the client reads.
    newest = "$(openstack volume list --all-projects -f value -c ID | head -n 1)"
    created = f'$(openstack volume show -f value -c created_at "{newest}")'
    return f'[ "{created}" \\> {moment.astimezone(timezone.utc):%Y-%m-%dT%H:%M:%S} ]'


def guest_is_off_on(host: str, server_id: str) -> str:
    """Return the command that succeeds if libvirt answers on the host that the server's guest there is off."""
    return f"ssh {host} '{VIRSH} domstate {server_id} | grep -q \"shut off\"'"


def _end_of_work(pair: Pair) -> Iterator[str]:
    """Yield the command that ends the first of the operations that never end, if there is such a command."""
    state = pair.server_state
    work = next((marker for marker in pair.reported_work if marker.since), None)
    match work.kind if work else "":
        case "event" if state.server is not None and state.server.can_be_stopped:
            # The reboot takes the instance lock, so it proves that the earlier operation no longer holds it.
            yield hard_reboot(state.server_id)
        case "lock":
            yield f"openstack server unlock {state.server_id}"
        case "task_state" if state.server is not None and _may_be_active(state.server):
            yield reset_to_active(state.server_id)
        case "volume":
            # Cinder sets a volume to in-use only if it has an attachment.
            has_attachment = bool(pair.attachments) or not pair.others.absent
            detached = "error" if may_be_used_unattached(pair) else "available"
            status = "in-use" if has_attachment else detached
            yield from (set_status(each, status) for each in pair.volume.rows)
