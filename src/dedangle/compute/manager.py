# SPDX-License-Identifier: Apache-2.0
"""Nova's ComputeManager, which removes dangling volume attachments while a server reboots."""

from __future__ import annotations

import contextlib
import time
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import nova.conf
from nova import objects
from nova.compute import manager, task_states
from nova.compute import utils as compute_utils
from oslo_log import log as logging
from oslo_serialization import jsonutils

from dedangle import config
from dedangle.compute import lease
from dedangle.compute.endpoint import Endpoint
from dedangle.core import planning
from dedangle.core.doors import Policy
from dedangle.core.records import Door, Finding, Outcome, Result
from dedangle.reconcile.server import Reconciler, UnpreparedError
from dedangle.state.journal import Journal, JournalUnwritableError
from dedangle.systems import keystone
from dedangle.systems.cinder_api import CinderApi
from dedangle.systems.libvirt import ThisHost
from dedangle.systems.nova_compute import NovaCompute

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

config.register(CONF)

# Seconds between two looks at a guest that is shutting down (nova compute/manager.py:_power_off_instance).
_SHUTDOWN_RETRY_INTERVAL = 10


class ComputeManager(manager.ComputeManager):
    """The reboot door: with nothing to remove a reboot is Nova's own, and it never fails because of dedangle."""

    _access: keystone.Access | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.additional_endpoints.append(Endpoint(self))

    def _delete_dangling_bdms(self, context: Any, instance: Any, bdms: Any) -> None:
        """Replace Nova's own clean-up (28 and later), which our _reboot_instance has done already, safely."""

    def _reboot_instance(self, context: Any, instance: Any, block_device_info: Any, reboot_type: str) -> None:
        # Called under the instance lock; the block device info is read from the database after we return.
        try:
            self._remove_dangling(context.elevated(), instance, reboot_type)
        except JournalUnwritableError as error:
            LOG.warning("Nothing is removed without a journal: %s", error, instance=instance)
        except Exception:
            LOG.warning("Not all stale volume attachments were removed", instance=instance, exc_info=True)
        if instance.task_state == task_states.REBOOT_PENDING_HARD:
            # A guest that we have shut down is started with a new domain, which only a hard reboot makes.
            reboot_type = "HARD"
        super()._reboot_instance(context, instance, block_device_info, reboot_type)

    def _remove_dangling(self, context: Any, instance: Any, reboot_type: str) -> None:
        settings = config.settings(CONF)
        deadline = time.monotonic() + settings.reboot_budget
        try:
            access = self._cinder_access(context)
        except (keystone.CredentialsError, ConnectionError) as error:
            LOG.warning("Dangling volume attachments were not looked for: %s", error, instance=instance)
            return
        system = NovaCompute(context, instance, rebooting=True)
        cinder = CinderApi(*access, lambda: deadline - time.monotonic())
        policy = Policy(
            door=Door.REBOOT,
            grace=timedelta(),
            attach_timeout=settings.attach_timeout,
            available_means_gone=settings.available_means_gone,
            guest_off=_rebuilds_guests(self.driver),
            at_host=True,
        )
        reconciler = self._reconciler(instance, system, cinder, policy)
        judged = reconciler.audit(instance.uuid)
        if judged.unread:
            LOG.warning(
                "Dangling volume attachments were not looked for: %s", "; ".join(judged.unread), instance=instance
            )
            return
        plan = planning.changes(judged.findings)
        if not plan:
            return
        limits = planning.Limits(max_removals=settings.max_removals, max_removals_percent=settings.max_removals_percent)
        refusal = planning.refusal(plan, limits, {})
        if refusal:
            LOG.warning("No volume attachment is removed: %s", refusal, instance=instance)
            return
        connected = any(each.mapping and each.mapping.has_connection_info for each in plan)
        if connected and reboot_type == "SOFT" and settings.soft_reboot == "defer":
            LOG.warning("%d stale volume attachments are left for a hard reboot", len(plan), instance=instance)
            return
        journal = self._journal(settings, Door.REBOOT)
        journal.begin(instance.uuid)
        with compute_utils.EventReporter(context, "compute_remove_dangling", self.host, instance.uuid):
            if connected:
                self._shut_down(instance, gracefully=reboot_type == "SOFT")
                # Shutting a guest down takes its own time, which is not Cinder's.
                deadline = time.monotonic() + settings.reboot_budget
            for _ in reconciler.execute(
                judged, journal, prepare=lambda finding: self._disconnect(context, instance, system, cinder, finding)
            ):
                pass

    def remove_one(
        self, context: Any, server_id: str, identity: tuple[str | None, ...], door: Door, allowed: dict[str, bool]
    ) -> Outcome:
        """Remove what the identity names, for a command or sweep elsewhere; the caller holds the instance lock."""
        settings = config.settings(CONF)
        deadline = time.monotonic() + settings.reboot_budget
        try:
            instance = objects.Instance.get_by_uuid(context, server_id)
            cinder = CinderApi(*self._cinder_access(context), lambda: deadline - time.monotonic())
        except nova.exception.InstanceNotFound:
            return Outcome(result=Result.CHANGED_MEANWHILE, detail="the server is deleted")
        except (keystone.CredentialsError, ConnectionError) as error:
            return Outcome(result=Result.FAILED, detail=str(error))
        if instance.host != self.host:
            return Outcome(result=Result.CHANGED_MEANWHILE, detail=f"the server is on host {instance.host}")
        # What the database last heard may be minutes old.
        instance.power_state = self._get_power_state(instance)
        system = NovaCompute(context, instance, rebooting=False)
        # Whoever calls has waited the grace period, and looked for unfinished actions, which only the databases tell.
        policy = Policy(door=door, grace=timedelta(), attach_timeout=settings.attach_timeout, at_host=True, **allowed)
        reconciler = self._reconciler(instance, system, cinder, policy)
        judged = reconciler.audit(server_id)
        if judged.unread:
            return Outcome(result=Result.FAILED, detail="; ".join(judged.unread))
        journal = self._journal(settings, door)
        try:
            for _, outcome in reconciler.execute(
                judged,
                journal,
                prepare=lambda finding: self._disconnect(context, instance, system, cinder, finding),
                wanted=lambda finding: finding.identity == identity,
            ):
                return outcome
        except JournalUnwritableError as error:
            return Outcome(result=Result.FAILED, detail=f"{error} on host {self.host}")
        kept = [each.reason for each in judged.findings if each.identity[3:] == identity[3:]]
        return Outcome(result=Result.CHANGED_MEANWHILE, detail=" ".join(["judged anew on its host:", *kept]))

    def _reconciler(self, instance: Any, system: NovaCompute, cinder: CinderApi, policy: Policy) -> Reconciler:
        return Reconciler(
            nova=system,
            cinder=cinder,
            hosts=ThisHost(self.driver, instance),
            policy=policy,
            clock=_clock,
            first_seen=lambda _: None,
            thorough=policy.available_means_gone,
        )

    def _journal(self, settings: config.Settings, door: Door) -> Journal:
        return Journal(settings.state_dir, run_id=f"{self.host}-{uuid4().hex[:12]}", door=door, clock=_clock)

    def _shut_down(self, instance: Any, *, gracefully: bool) -> None:
        """Power the guest off, as gently as the reboot was meant, so that no disk is in use while it goes."""
        before = instance.task_state
        instance.task_state = task_states.REBOOT_PENDING_HARD
        # Before anything else: a nova-compute that dies from here on finds the reboot pending when it is back, and
        # does it again as a hard one (nova compute/manager.py:_retry_reboot).
        try:
            instance.save(expected_task_state=[*task_states.soft_reboot_states, *task_states.hard_reboot_states])
        except Exception:
            instance.task_state = before
            raise
        timeout = 0
        if gracefully:
            timeout = compute_utils.get_value_from_system_metadata(
                instance, key="image_os_shutdown_timeout", type=int, default=CONF.shutdown_timeout
            )
        with contextlib.suppress(nova.exception.InstanceNotFound):
            self.driver.power_off(instance, timeout, _SHUTDOWN_RETRY_INTERVAL)

    def _disconnect(
        self, context: Any, instance: Any, system: NovaCompute, cinder: CinderApi, finding: Finding
    ) -> None:
        """Tear down the host's connection of what is doomed, which Nova's mapping, live or deleted, alone describes."""
        attachment_id = finding.attachment_id
        if not attachment_id or (finding.attachment and finding.attachment.is_reserved):
            return
        try:
            connection_info = jsonutils.loads(system.connection_info(attachment_id) or "{}")
            if connection_info and lease.permits(context, self.driver, self.host, finding, connection_info):
                encryption = _encryption(cinder, finding.volume_id, connection_info.get("data", {}))
                # Without a device name: where libvirt does not find the disk by its alias it takes whatever disk is at
                # that name, and by now that may be a healthy one (nova virt/libvirt/driver.py:_get_guest_disk_device).
                self.driver.detach_volume(context, connection_info, instance, "", encryption=encryption)
        except UnpreparedError:
            raise
        except Exception as error:
            raise UnpreparedError(f"its connection was not torn down ({type(error).__name__})") from error

    def _cinder_access(self, context: Any) -> keystone.Access:
        # One session for the life of the service: it holds the token, and its lock is what makes it safe to share.
        if self._access is None:
            timeout = CONF.dedangle.reboot_budget
            try:
                self._access = keystone.cinder_client(CONF, {}, timeout=timeout)
            except keystone.NoCredentialsError:
                # What the token of whoever reboots may not see, the control read finds to be unknown.
                return keystone.cinder_client_of(context, CONF, timeout=timeout)
            self._access.client.connect_retries = self._access.client.status_code_retries = 0
        return self._access


def _rebuilds_guests(driver: Any) -> bool:
    """Whether a hard reboot makes a new guest from what is mapped, whether the old one is on or off.

    Any other driver is left to what needs no guest powered off.
    """
    return any(each.__module__ in ("nova.virt.libvirt.driver", "nova.virt.fake") for each in type(driver).__mro__)


def _encryption(cinder: CinderApi, volume_id: str, data: dict[str, Any]) -> dict[str, Any]:
    """What the driver needs to close an encrypted volume, asked within the budget; empty where it needs nothing.

    A secret in libvirt the driver finds by itself; without a device on the host there is nothing else to close
    (nova virt/libvirt/driver.py:_detach_encryptor).
    """
    if not data.get("encrypted"):
        return {}
    found = cinder.encryption(volume_id)
    if found.rows:
        return found.rows[0]
    if data.get("device_path"):
        raise UnpreparedError(f"how it is encrypted cannot be read: {found.why or 'Cinder has no such volume'}")
    return {}


def _clock() -> datetime:
    return datetime.now(timezone.utc)
