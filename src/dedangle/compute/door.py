# SPDX-License-Identifier: Apache-2.0
"""One server on its own host: how it is judged there, and what is done before each write."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from oslo_log import log as logging

from dedangle.compute import lease, teardown
from dedangle.compute.budget import Budget
from dedangle.compute.this_host import ThisHost
from dedangle.core.case import Policy
from dedangle.core.decisions import Door, Finding, Remedy, Result
from dedangle.core.records import Refusal
from dedangle.reconcile.server import Reconciler, UnpreparedError
from dedangle.systems import guests
from dedangle.systems.cinder.api import CinderApi
from dedangle.systems.nova.compute import NovaCompute
from dedangle.systems.nova.rpc import NovaRpc

LOG = logging.getLogger(__name__)

# The number of connections that the HTTP client keeps (requests.adapters.DEFAULT_POOLSIZE); it warns about more.
_AT_ONCE = 10


class HostDoor:
    """A reboot, or a request of a command or sweep on another machine, for one server with the instance lock held."""

    def __init__(
        self,
        manager: Any,
        context: Any,
        instance: Any,
        system: NovaCompute,
        cinder: CinderApi,
        policy: Policy,
        budget: Budget,
        deadline: float | None = None,
        others: NovaRpc | None = None,
    ) -> None:
        """Create the door.

        `deadline` is in seconds since 1970 by the caller's clock, None if no caller waits. `others` calls the other
        hosts of the cell; None if they are not called.
        """
        self.instance = instance
        self._manager = manager
        self._context = context
        self._system = system
        self._cinder = cinder
        self._policy = policy
        self._budget = budget
        self._deadline = deadline
        self._hosts = ThisHost(manager.driver, instance, others)
        self.reconciler = Reconciler(
            nova=system,
            cinder=cinder,
            hosts=self._hosts,
            policy=policy,
            clock=clock,
            first_seen=lambda _: None,
            thorough=policy.available_means_gone,
            at_once=_AT_ONCE,
        )

    def require_time(self) -> None:
        """Raise UnpreparedError if the caller no longer waits."""
        if self._deadline is not None and clock().timestamp() > self._deadline:
            raise UnpreparedError(
                "the caller no longer waits for the answer, or the clocks of the two machines differ",
                Result.CHANGED_MEANWHILE,
            )

    def prepare(self, finding: Finding) -> Refusal | None:
        """Disconnect the volume by the connection_info of Nova's live or deleted mapping; return why it may remain.

        Raises UnpreparedError if the row must be kept because of that.
        """
        self.require_time()
        self._require_power_as_judged()
        if finding.held_on:
            return self._released(finding, finding.held_on)
        attachment_id = finding.attachment_id
        if not attachment_id or (finding.attachment and finding.attachment.is_reserved):
            return None
        connection_info = self._system.connection_info(attachment_id)
        if not connection_info:
            return None
        mapping_id = finding.mapping.id if finding.mapping else None
        refusal = lease.check(
            self._context, self._manager.driver, self._manager.host, self.instance.uuid, mapping_id, connection_info
        )
        if refusal:
            kept = Refusal(f"the volume was not disconnected: {refusal}")
            if not guests.of(self._manager.driver).reports_guests:
                # The guest of such a driver would keep the disk; a guest of libvirt gets a new domain at each start.
                raise UnpreparedError(kept.why)
            return self._left(finding, kept)
        encryption = self._encryption(finding.volume_id, connection_info.get("data", {}))
        failed = teardown.attempt(
            self._budget,
            self._context,
            self._manager.driver,
            self.instance,
            connection_info,
            encryption,
            guest_is_off=self._policy.door is Door.REBOOT and self._policy.guest_off,
        )
        # If the mapping stayed, the reboot would try to connect a dead volume, and the server would end in ERROR.
        if failed and not (self._policy.door is Door.REBOOT and finding.remedy is Remedy.REMOVE_MAPPING):
            raise UnpreparedError(f"the volume stays connected: {failed}")
        return self._left(finding, failed) if failed else None

    def _released(self, finding: Finding, host: str) -> Refusal | None:
        """Have the host disconnect that the server is not on; the claim keeps the server from coming back to it."""
        refusal = self._hosts.release(finding, host, self._deadline or 0)
        if refusal and not self._policy.no_host:
            raise UnpreparedError(refusal.why)
        return Refusal(f"host {host} may keep the connection: {refusal}") if refusal else None

    def _left(self, finding: Finding, why: Refusal) -> Refusal:
        """Return that the host may keep the connection; raise UnpreparedError if an attachment must stay therefore."""
        if finding.remedy is Remedy.REMOVE_ATTACHMENT:
            raise UnpreparedError(why.why)
        LOG.warning("The host may keep the connection of volume %s: %s", finding.volume_id, why, instance=self.instance)
        return Refusal(f"the host may keep the connection: {why}")

    def _require_power_as_judged(self) -> None:
        """Raise UnpreparedError if the power state has changed, because a start takes no instance lock."""
        if self._policy.door is Door.REBOOT:
            return
        judged = self.instance.power_state
        if self._manager._get_power_state(self.instance) != judged:
            raise UnpreparedError("the guest was started or stopped meanwhile", Result.CHANGED_MEANWHILE)

    def _encryption(self, volume_id: str, data: dict[str, Any]) -> dict[str, Any]:
        """Return what the driver needs to close an encrypted volume; empty if it needs nothing.

        The driver finds a secret in libvirt by itself. Without a device on the host there is nothing else to close
        (nova virt/libvirt/driver.py:_detach_encryptor).
        """
        if not data.get("encrypted"):
            return {}
        found = self._cinder.encryption(volume_id)
        if found.rows:
            return found.rows[0]
        if data.get("device_path"):
            raise UnpreparedError(
                f"the encryption of the volume could not be read: {found.why or 'Cinder has no such volume'}"
            )
        return {}


def clock() -> datetime:
    return datetime.now(timezone.utc)
