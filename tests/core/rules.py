# SPDX-License-Identifier: Apache-2.0
"""What may never happen, as predicates on the raw world; written from the design's text, not from the judgement."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from worlds import NOW, SERVER, World, disks

from dedangle.core.case import Policy
from dedangle.core.decisions import Door, Finding
from dedangle.core.records import Attachment, BlockDeviceMapping, HostState, Server

Rule = Callable[[World, Policy, Finding], bool]
"""Whether the removal breaks the rule."""

MAY_GO = {
    "mapping-of-deleted-server",
    "mapping-never-attached",
    "mapping-without-attachment",
    "mapping-of-missing-volume",
    "attachment-of-deleted-server",
    "attachment-never-used",
    "attachment-released-by-nova",
    "attachment-left-by-migration",
    "attachment-unknown-to-nova",
    "attachment-failed",
    "mapping-never-launched",
    "attach-half-made",
    "mapping-duplicated",
}
WORKED_ON = {
    *("attaching", "detaching", "creating", "downloading", "uploading", "extending", "backing-up", "restoring-backup"),
    *("retyping", "maintenance", "awaiting-transfer", "deleting"),
}


def living(world: World) -> Server | None:
    return next((each for each in world.servers if not each.deleted), None)


def off(world: World) -> bool:
    server = living(world)
    is_off = bool(server and server.vm_state in ("stopped", "shelved", "soft-delete") and server.power_state == 4)
    return bool(is_off and server and not server.task_state)


def has_no_guest(world: World) -> bool:
    """Shelved-offloaded, or in error without a host: no hypervisor knows the server."""
    server = living(world)
    return bool(server and not server.host and server.vm_state in ("shelved_offloaded", "error"))


def runs_no_guest(world: World) -> bool:
    """No guest of the server is expected anywhere: it is deleted, off, or on no host."""
    server = living(world)
    return server is None or off(world) or server.host is None


def removed_mapping(finding: Finding) -> BlockDeviceMapping | None:
    return finding.mapping if finding.remedy == "remove-mapping" else None


def removed_attachment(finding: Finding) -> Attachment | None:
    return finding.attachment if finding.remedy == "remove-attachment" else None


def connected_mapping_of_the_living(world: World, finding: Finding) -> bool:
    mapping = removed_mapping(finding)
    return bool(mapping and living(world) and (mapping.attachment_id or mapping.has_connection_info))


def is_of_a_code_that_no_door_removes(world: World, policy: Policy, finding: Finding) -> bool:
    return finding.code not in MAY_GO


def removes_neither_or_both(world: World, policy: Policy, finding: Finding) -> bool:
    return (removed_mapping(finding) is None) == (removed_attachment(finding) is None)


def rests_on_an_incomplete_reading(world: World, policy: Policy, finding: Finding) -> bool:
    return bool(world.silent - {"other_servers_bdms"})


def may_take_the_disk_from_a_server_that_was_not_seen(world: World, policy: Policy, finding: Finding) -> bool:
    """While another cell is silent: nobody has a disk by what was never connected, or is a deleted server's mapping."""
    attachment = removed_attachment(finding)
    connected = attachment is not None and attachment.status != "reserved"
    return "other_servers_bdms" in world.silent and (connected or connected_mapping_of_the_living(world, finding))


def is_of_an_id_nova_never_knew(world: World, policy: Policy, finding: Finding) -> bool:
    return all(each.hidden and each.deleted for each in world.servers)


def is_of_another_server(world: World, policy: Policy, finding: Finding) -> bool:
    row = removed_attachment(finding) or removed_mapping(finding)
    return row is None or row.server_id != SERVER


def takes_the_root_disk(world: World, policy: Policy, finding: Finding) -> bool:
    mapping, server = removed_mapping(finding), living(world)
    if not mapping or not server:
        return False
    only = len([each for each in world.mappings if each.server_id == SERVER]) == 1 and not server.image_ref
    root = mapping.boot_index == 0 or mapping.device_name == server.root_device_name or only
    return root and not (policy.allow_root and (off(world) or has_no_guest(world)))


def touches_what_is_in_flight(world: World, policy: Policy, finding: Finding) -> bool:
    server = living(world)
    volume = next((each for each in world.volumes if each.id == finding.volume_id), None)
    hidden = any(each.hidden and not each.deleted for each in world.servers)
    markers = [each for each in world.markers if server or each.kind == "migration"]
    worked_on = set(WORKED_ON)
    if not server:
        others = [each for each in world.attachments if each.volume_id == finding.volume_id]
        if all(each.server_id == SERVER for each in others):
            # A delete that crashed leaves these permanently.
            worked_on -= {"attaching", "detaching"}
    on_the_volume = volume is not None and (
        volume.status in worked_on or volume.migration_status not in (None, "none", "success", "error")
    )
    on_the_server = server is not None and (bool(server.task_state) or server.vm_state == "building")
    host = any(each.host for each in world.servers) and world.host_state is HostState.DOWN
    attachment = removed_attachment(finding)
    by_databases_alone = not server and (attachment is None or attachment.status == "reserved")
    # Nova's record of a deleted server counts if its host has been down for long and the operator leaves it out.
    is_lost = not server and world.host_down_since is not None and policy.door is Door.COMMAND
    host_waived = (policy.no_host and (off(world) or is_lost)) or by_databases_alone
    return bool(markers) or world.building or hidden or on_the_volume or on_the_server or (host and not host_waived)


def removes_an_attachment_while_a_mapping_names_a_lost_one(world: World, policy: Policy, finding: Finding) -> bool:
    has = {each.id for each in world.attachments}
    lost = [each for each in world.mappings if each.attachment_id and each.attachment_id not in has]
    return bool(removed_attachment(finding) and lost)


def unmaps_what_cinder_has_attached(world: World, policy: Policy, finding: Finding) -> bool:
    mapping = removed_mapping(finding)
    return bool(mapping and living(world) and mapping.attachment_id in {each.id for each in world.attachments})


def takes_an_attachment_that_nova_uses(world: World, policy: Policy, finding: Finding) -> bool:
    attachment = removed_attachment(finding)
    return bool(attachment and living(world) and attachment.id in {each.attachment_id for each in world.mappings})


def takes_a_connected_attachment_of_the_living(world: World, policy: Policy, finding: Finding) -> bool:
    """What Nova let go or failed to attach may still be in the guest: unless that is off, its host must deny it."""
    attachment, server = removed_attachment(finding), living(world)
    if not attachment or not server or attachment.status == "reserved":
        return False
    known_to_nova = any(each.attachment_id == attachment.id for each in (*world.tombstones, *world.mappings))
    # Half an attach: Nova maps the volume, and the attach stopped before Nova wrote the id.
    known_to_nova |= any(not each.attachment_id and each.volume_id == attachment.volume_id for each in world.mappings)
    if (known_to_nova or attachment.status.startswith("error")) and (off(world) or has_no_guest(world)):
        return False
    if known_to_nova and policy.door is Door.REBOOT and policy.guest_off:
        return False
    host = world.connected.get(attachment.id)
    # A volume that is also attached the right way is in the guest by right: then only the host that was left tells.
    left = host != server.host and _is_attached_rightly(world, attachment)
    if left and host not in world.guests and policy.no_host and policy.names_volume and policy.door is Door.COMMAND:
        return False
    hosts = [host] if left else [host, server.host]
    return not all(each and _denies(world, each, attachment.volume_id) for each in hosts)


def leaves_a_connection_on_another_host(world: World, policy: Policy, finding: Finding) -> bool:
    """Only that host can disconnect, while the server's own one keeps the server from coming back."""
    attachment, server = removed_attachment(finding), living(world)
    host = world.connected.get(attachment.id) if attachment and attachment.status == "attached" else None
    if not (host and server and server.host) or host == server.host:
        return False
    both = host in world.guests and (world.host_acts or policy.at_host)
    return not (both or (policy.no_host and policy.names_volume and policy.door is Door.COMMAND))


def asks_a_host_that_cannot_claim_the_server(world: World, policy: Policy, finding: Finding) -> bool:
    """nova-compute does not clear the task_state of a server in ERROR when it starts, so that a host claims none."""
    server = living(world)
    asked = world.host_acts and not policy.at_host and policy.door is not Door.REBOOT
    return asked and server is not None and bool(server.host) and server.vm_state == "error" and connected(finding)


def _is_attached_rightly(world: World, except_server: Attachment) -> bool:
    server = living(world)
    named = {each.attachment_id for each in world.mappings if each.volume_id == except_server.volume_id}
    return any(
        each.id in named and each.status == "attached" and server and world.connected.get(each.id) == server.host
        for each in world.attachments
    )


def _denies(world: World, host: str, volume_id: str) -> bool:
    """Whether the host answered, without a disk of the volume, or one that nobody can explain, in the guest."""
    return host in world.guests and all(
        each.volume_id != volume_id and each.is_recognised for each in disks(world, host)
    )


def ignores_a_guest_that_has_the_disk(world: World, policy: Policy, finding: Finding) -> bool:
    """Presence forbids: on any host, for any server, at any door that does not take that guest off first."""
    attachment, server = removed_attachment(finding), living(world)
    own_host = server.host if server else None
    # Cinder only returns the host of an attachment that is attached.
    own = [each.id for each in world.attachments if each.server_id == SERVER and each.status == "attached"]
    concerned = {*(each.host for each in world.servers), *(world.connected.get(each) for each in own)}
    for host in concerned & set(world.guests):
        running = [each for each in disks(world, host) if each.is_running]
        has_it = any(each.volume_id == finding.volume_id for each in running)
        if connected(finding) and (runs_no_guest(world) or host != own_host):
            # Nobody expects a guest there: what its disk is cannot be told by a serial.
            has_it = has_it or any(not each.is_recognised for each in running)
        taken_off = host == own_host and policy.door is Door.REBOOT and policy.guest_off
        by_right = host == own_host and attachment is not None and _is_attached_rightly(world, attachment)
        if has_it and not taken_off and not by_right:
            return True
    return False


def connected(finding: Finding) -> bool:
    attachment, mapping = removed_attachment(finding), removed_mapping(finding)
    if attachment:
        return attachment.status != "reserved" or bool(attachment.has_connection_info)
    return mapping is not None and (mapping.attachment_id is not None or mapping.has_connection_info)


def believes_what_is_two_minutes_old(world: World, policy: Policy, finding: Finding) -> bool:
    rows = (*world.mappings, *world.tombstones)
    changed = [each.changed_at for each in rows if each.volume_id == finding.volume_id and each.changed_at]
    return any(NOW - each < timedelta(minutes=2) for each in changed)


def believes_a_cinder_that_has_lost_rows(world: World, policy: Policy, finding: Finding) -> bool:
    has = {each.id for each in world.attachments}
    mapping = removed_mapping(finding)
    lost = mapping is not None and mapping.attachment_id is not None and mapping.attachment_id not in has
    if not lost or living(world) is None:
        return False
    failed, changed = world.live_migration_failed_at, mapping.changed_at if mapping else None
    return bool(world.cinder_is_behind) or (failed is not None and (changed is None or failed >= changed))


def believes_a_nova_that_has_lost_rows(world: World, policy: Policy, finding: Finding) -> bool:
    attachment = removed_attachment(finding)
    return bool(attachment and living(world) and world.nova_is_behind)


def does_not_wait_for_a_host_that_can_prove(world: World, policy: Policy, finding: Finding) -> bool:
    """A connected attachment of a deleted server goes once the hosts with dedangle have answered."""
    attachment = removed_attachment(finding)
    if not attachment or not connected(finding) or living(world):
        return False
    own_hosts = {each.host for each in world.servers}
    is_lost = world.host_state is HostState.DOWN and world.host_down_since is not None
    left_out = own_hosts if is_lost and policy.no_host and policy.door is Door.COMMAND else set()
    hosts = {world.connected.get(attachment.id), *own_hosts} - left_out - {None}
    return bool(hosts & world.silent_hosts - set(world.guests))


def presumes_that_the_guest_of_a_deleted_server_ended(world: World, policy: Policy, finding: Finding) -> bool:
    """Nova deleted it while its host was down: time proves nothing, only the host or an operator does."""
    attachment, server = removed_attachment(finding), next(iter(world.servers), None)
    if not attachment or not connected(finding) or living(world) or server is None:
        return False
    ran_on = server.host and server.power_state not in (None, 0, 4)
    vouched = policy.no_host and policy.door is Door.COMMAND
    return bool(ran_on) and not vouched and not _denies(world, str(server.host), attachment.volume_id)


def touches_legacy(world: World, policy: Policy, finding: Finding) -> bool:
    return any(
        each.attachment_id is None and each.has_connection_info and each.volume_id == finding.volume_id
        for each in world.mappings
    )


def unplugs_a_running_guest(world: World, policy: Policy, finding: Finding) -> bool:
    if not connected_mapping_of_the_living(world, finding):
        return False
    if policy.door is Door.REBOOT:
        return not policy.guest_off
    if policy.door is Door.SWEEP:
        return True
    server = living(world)
    if world.host_acts and server and server.host:
        return not (off(world) or has_no_guest(world) or _denies(world, server.host, finding.volume_id))
    return not ((off(world) and policy.no_host) or has_no_guest(world))


def takes_what_another_server_may_share(world: World, policy: Policy, finding: Finding) -> bool:
    """Many backends keep one export per volume and host, so that deleting one attachment unplugs the other."""
    attachment = removed_attachment(finding)
    if not attachment or attachment.status == "reserved":
        return False
    is_mapped = living(world) and any(each.volume_id == attachment.volume_id for each in world.mappings)
    unused = ("reserved", "error_attaching")
    for other in world.attachments:
        if other.server_id == SERVER and not is_mapped:
            continue
        if other.id == attachment.id or other.volume_id != attachment.volume_id or other.status in unused:
            continue
        hosts = [world.connected.get(each.id) if each.status == "attached" else None for each in (attachment, other)]
        if None in hosts or hosts[0] == hosts[1]:
            return True
    return False


def takes_the_disk_from_another_server(world: World, policy: Policy, finding: Finding) -> bool:
    """A volume that two cannot share and another server holds: which of the two writes to it, nobody can tell."""
    volume = next((each for each in world.volumes if each.id == finding.volume_id), None)
    held = any(each.server_id != SERVER and each.volume_id == finding.volume_id for each in world.attachments)
    shared = held and not (volume and volume.multiattach)
    return connected_mapping_of_the_living(world, finding) and shared and not runs_no_guest(world)


def takes_a_mapping_whose_new_attachment_may_be_there(world: World, policy: Policy, finding: Finding) -> bool:
    """A migration, a shelving or a swap that crashed: the live disk is behind an attachment that no mapping names.

    Neither is behind an attachment of an attach that failed, nor one that Nova has let go, nor of another volume that a
    mapping names: Nova swaps to no volume that the server has.
    """
    named = {each.attachment_id for each in world.mappings}
    own = [each for each in world.attachments if each.server_id == SERVER]
    mapped = {each.volume_id for each in world.mappings}
    spare = any(
        each.id not in named
        and each.status != "error_attaching"
        and (each.volume_id == finding.volume_id or (each.status != "reserved" and each.volume_id not in mapped))
        and not (each.volume_id != finding.volume_id and each.id in {row.attachment_id for row in world.tombstones})
        for each in own
    )
    return connected_mapping_of_the_living(world, finding) and bool(finding.attachment_id) and spare


def overwrites_the_status_of_a_volume(world: World, policy: Policy, finding: Finding) -> bool:
    """Cinder recalculates the status from the rows that remain; error, maintenance and others would be lost."""
    settled = ("available", "in-use", "reserved", "attaching", "detaching", "error_attaching", "error_detaching")
    volume = next((each for each in world.volumes if each.id == finding.volume_id), None)
    return removed_attachment(finding) is not None and (volume is None or volume.status not in settled)


RULES: tuple[Rule, ...] = (
    is_of_a_code_that_no_door_removes,
    removes_neither_or_both,
    rests_on_an_incomplete_reading,
    may_take_the_disk_from_a_server_that_was_not_seen,
    is_of_an_id_nova_never_knew,
    is_of_another_server,
    takes_the_root_disk,
    touches_what_is_in_flight,
    removes_an_attachment_while_a_mapping_names_a_lost_one,
    unmaps_what_cinder_has_attached,
    takes_an_attachment_that_nova_uses,
    takes_a_connected_attachment_of_the_living,
    leaves_a_connection_on_another_host,
    asks_a_host_that_cannot_claim_the_server,
    touches_legacy,
    unplugs_a_running_guest,
    takes_what_another_server_may_share,
    takes_the_disk_from_another_server,
    takes_a_mapping_whose_new_attachment_may_be_there,
    overwrites_the_status_of_a_volume,
    ignores_a_guest_that_has_the_disk,
    believes_what_is_two_minutes_old,
    believes_a_cinder_that_has_lost_rows,
    believes_a_nova_that_has_lost_rows,
    does_not_wait_for_a_host_that_can_prove,
    presumes_that_the_guest_of_a_deleted_server_ended,
)


def broken(world: World, policy: Policy, finding: Finding) -> list[str]:
    return [rule.__name__ for rule in RULES if rule(world, policy, finding)]
