# SPDX-License-Identifier: Apache-2.0
"""Nova's ComputeManager, which removes dangling volume attachments while a server reboots."""

from __future__ import annotations

import contextlib
import time
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import nova.conf
from nova.compute import manager, task_states
from nova.compute import utils as compute_utils
from oslo_log import log as logging
from oslo_serialization import jsonutils

from dedangle import config
from dedangle.core import planning
from dedangle.core.doors import Policy
from dedangle.core.records import Door, Finding, Remedy
from dedangle.reconcile.server import Reconciler, UnpreparedError
from dedangle.state.journal import Journal
from dedangle.systems import keystone
from dedangle.systems.cinder_api import CinderApi
from dedangle.systems.libvirt import ThisHost
from dedangle.systems.nova_compute import NovaCompute

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

config.register(CONF)

# Drivers whose hard reboot makes a new guest from what is mapped, whether the old one is on or off; any other is left
# to what needs no guest powered off.
_REBUILDING_DRIVERS = ("libvirt.", "fake.")


class ComputeManager(manager.ComputeManager):
    """The reboot door: with nothing to remove a reboot is Nova's own, and it never fails because of dedangle."""

    def _delete_dangling_bdms(self, context: Any, instance: Any, bdms: Any) -> None:
        """Replace Nova's own clean-up (28 and later), which our _reboot_instance has done already, safely."""

    def _reboot_instance(self, context: Any, instance: Any, block_device_info: Any, reboot_type: str) -> None:
        # Called under the instance lock; the block device info is read from the database after we return.
        try:
            reboot_type = self._remove_dangling(context.elevated(), instance, reboot_type)
        except Exception:
            LOG.warning("Dangling volume attachments were not looked for", instance=instance, exc_info=True)
        super()._reboot_instance(context, instance, block_device_info, reboot_type)

    def _remove_dangling(self, context: Any, instance: Any, reboot_type: str) -> str:
        """Remove what dangles and return the type of reboot to go on with: HARD where the guest was shut down."""
        settings = config.settings(CONF)
        deadline = time.monotonic() + settings.reboot_budget
        system = NovaCompute(context, instance)
        reconciler = Reconciler(
            nova=system,
            cinder=CinderApi(self._cinder_client(), lambda: deadline - time.monotonic()),
            hosts=ThisHost(self.driver, instance),
            policy=Policy(
                door=Door.REBOOT,
                grace=timedelta(),
                attach_timeout=settings.attach_timeout,
                available_means_gone=settings.available_means_gone,
                guest_off=CONF.compute_driver.startswith(_REBUILDING_DRIVERS),
            ),
            clock=_clock,
            first_seen=lambda _: None,
            thorough=settings.available_means_gone,
        )
        judged = reconciler.audit(instance.uuid)
        if judged.unread:
            LOG.warning(
                "Dangling volume attachments were not looked for: %s", "; ".join(judged.unread), instance=instance
            )
            return reboot_type
        plan = planning.changes(judged.findings)
        if not plan:
            return reboot_type
        limits = planning.Limits(max_removals=settings.max_removals, max_removals_percent=settings.max_removals_percent)
        refusal = planning.refusal(plan, limits, {})
        if refusal:
            LOG.warning("No volume attachment is removed: %s", refusal, instance=instance)
            return reboot_type
        connected = any(each.mapping and each.mapping.has_connection_info for each in plan)
        if connected and reboot_type == "SOFT" and settings.soft_reboot == "defer":
            LOG.warning("%d stale volume attachments are left for a hard reboot", len(plan), instance=instance)
            return reboot_type
        run_id = f"{self.host}-{uuid4().hex[:12]}"
        journal = Journal(settings.state_dir, run_id=run_id, door=Door.REBOOT, clock=_clock)
        journal.begin(instance.uuid)
        with compute_utils.EventReporter(context, "compute_remove_dangling", self.host, instance.uuid):
            if connected:
                reboot_type = self._power_off(instance, reboot_type)
                # Shutting a guest down takes its own time, which is not Cinder's.
                deadline = time.monotonic() + settings.reboot_budget
            try:
                for _ in reconciler.execute(
                    judged, journal, prepare=lambda finding: self._disconnect(context, instance, system, finding)
                ):
                    pass
            except Exception:
                # The guest may be off by now: whatever came of the rest, the reboot must switch it on again.
                LOG.warning("Not all stale volume attachments were removed", instance=instance, exc_info=True)
        return reboot_type

    def _disconnect(self, context: Any, instance: Any, system: NovaCompute, finding: Finding) -> None:
        """Tear down the host's connection of a doomed mapping, which is the only record of it."""
        mapping = finding.mapping
        if finding.remedy is not Remedy.REMOVE_MAPPING or not mapping or not mapping.has_connection_info:
            return
        try:
            connection_info = jsonutils.loads(system.connection_info(mapping) or "{}")
            self.driver.detach_volume(context, connection_info, instance, mapping.device_name)
        except Exception as error:
            raise UnpreparedError(f"its connection was not torn down ({type(error).__name__})") from error

    def _power_off(self, instance: Any, reboot_type: str) -> str:
        """Power the guest off, as gently as the reboot was meant, so that no disk is in use while it goes."""
        timeout = 0
        if reboot_type == "SOFT":
            timeout = compute_utils.get_value_from_system_metadata(
                instance, key="image_os_shutdown_timeout", type=int, default=CONF.shutdown_timeout
            )
        with contextlib.suppress(nova.exception.InstanceNotFound):
            self.driver.power_off(instance, timeout, 10)
        if reboot_type == "SOFT":
            # Only a hard reboot makes a new domain, and Nova checks that the task_state belongs to the reboot's type.
            instance.task_state = task_states.REBOOTING_HARD
            instance.save(expected_task_state=task_states.soft_reboot_states)
        return "HARD"

    def _cinder_client(self) -> Any:
        # One session for the life of the service: it holds the token, and its lock is what makes it safe to share.
        client = getattr(self, "_dedangle_client", None)
        if client is None:
            client = self._dedangle_client = keystone.cinder_client(CONF, {}, timeout=CONF.dedangle.reboot_budget)
            client.connect_retries = client.status_code_retries = 0
        return client


def _clock() -> datetime:
    return datetime.now(timezone.utc)
