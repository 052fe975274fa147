# SPDX-License-Identifier: Apache-2.0
"""The host that we run on, asked by its own nova-compute."""

from __future__ import annotations

from typing import Any

from nova import exception, objects

from dedangle.core.doors import Policy
from dedangle.core.records import Disk, Finding, Outcome, Reading, Result
from dedangle.systems import libvirt, nova_compute


class ThisHost:
    """The host of one server's nova-compute."""

    def __init__(self, context: Any, driver: Any, instance: Any) -> None:
        self._context = context
        self._driver = driver
        self._instance = instance

    def disks(self, server_id: str, host: str) -> Reading[Disk]:
        if (server_id, host) != (self._instance.uuid, self._instance.host):
            return Reading.unread(f"host {host} cannot be asked from here")
        return guest_disks(self._context, self._driver, server_id)

    def acts(self, host: str) -> bool:  # noqa: ARG002 - whoever asks is the one that acts
        return False

    def may_answer(self, host: str) -> bool:
        return bool(host == self._instance.host)

    def carry_out(self, finding: Finding, host: str, policy: Policy) -> Outcome:  # noqa: ARG002
        return Outcome(result=Result.FAILED, detail=f"host {host} is the one that acts")


def guest_disks(context: Any, driver: Any, server_id: str) -> Reading[Disk]:
    """Return the disks of the server's guest on this host, also of a server that is deleted, archived or purged."""
    try:
        instance = objects.Instance.get_by_uuid(context.elevated(read_deleted="yes"), server_id, expected_attrs=[])
    except exception.InstanceNotFound:
        # libvirt finds the domain by its UUID alone (nova virt/libvirt/host.py:_get_domain).
        instance = objects.Instance(context, id=0, uuid=server_id)
    sources = nova_compute.sources(context, server_id)
    if not sources.complete:
        return Reading.unread(sources.why)
    return libvirt.disks(driver, instance, dict(sources.rows))
