# SPDX-License-Identifier: Apache-2.0
"""A subclass of Nova's ComputeManager that removes dangling volume attachments while a server reboots."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import nova.conf
import nova.rpc
from nova import objects
from nova.compute import manager, task_states
from nova.compute import utils as compute_utils
from oslo_log import log as logging

from dedangle import config
from dedangle.compute import claim, release
from dedangle.compute.budget import Budget, OutOfTimeError
from dedangle.compute.door import HostDoor, clock
from dedangle.compute.endpoint import Endpoint
from dedangle.core import planning
from dedangle.core.case import Policy
from dedangle.core.decisions import Door, Finding, Identity, Outcome, Remedy, Result
from dedangle.core.records import Refusal
from dedangle.reconcile.server import Judged, UnpreparedError
from dedangle.state.journal import Journal, JournalUnwritableError
from dedangle.systems import guests, keystone
from dedangle.systems.cinder.api import CinderApi
from dedangle.systems.nova.compute import NovaCompute
from dedangle.systems.nova.rpc import NovaRpc

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

config.register(CONF)

# Seconds between two checks of a guest that is shutting down (nova compute/manager.py:_power_off_instance).
_SHUTDOWN_RETRY_INTERVAL = 10


class ComputeManager(manager.ComputeManager):
    """The reboot door. With nothing to remove, a reboot is Nova's own. It never fails because of dedangle."""

    _access: keystone.Access | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.additional_endpoints.append(Endpoint(self))

    def _delete_dangling_bdms(self, context: Any, instance: Any, bdms: Any) -> None:
        """Do nothing: this replaces Nova's own clean-up (28 and later), because _reboot_instance has done it safely."""

    def _reboot_instance(self, context: Any, instance: Any, block_device_info: Any, reboot_type: str) -> None:
        # Nova calls this with the instance lock held, and reads the block device info from the database afterwards.
        try:
            self._remove_dangling(context.elevated(), instance, reboot_type)
        except JournalUnwritableError as error:
            LOG.warning("No volume attachment is removed without a journal: %s", error, instance=instance)
        except (keystone.CredentialsError, ConnectionError, OutOfTimeError) as error:
            LOG.warning("Dangling volume attachments were not checked: %s", error, instance=instance)
        except Exception:  # a reboot never fails because of dedangle
            LOG.warning("Not all stale volume attachments were removed", instance=instance, exc_info=True)
        if instance.task_state == task_states.REBOOT_PENDING_HARD:
            # dedangle has shut the guest down. Only a hard reboot starts it with a new domain.
            reboot_type = "HARD"
        super()._reboot_instance(context, instance, block_device_info, reboot_type)

    def _remove_dangling(self, context: Any, instance: Any, reboot_type: str) -> None:
        settings = config.settings(CONF)
        budget = Budget(settings.reboot_budget)
        door, judged = budget.spend(lambda: self._look(context, instance, settings, budget))
        if judged.unread:
            LOG.warning("Dangling volume attachments were not checked: %s", _all(judged.unread), instance=instance)
            return
        if not judged.changes or not self._is_allowed(judged, settings, instance, reboot_type):
            return
        journal = self._journal(settings, Door.REBOOT)
        journal.begin(instance.uuid)
        with compute_utils.EventReporter(context, "compute_remove_dangling", self.host, instance.uuid):
            if any(map(_is_connected, judged.changes)):
                self._shut_down(instance, gracefully=reboot_type == "SOFT")
                # The time that the guest needed to shut down does not count.
                budget.restart()
            # The guest is off, so only the rows that are written are read again. Since the judgement the instance lock
            # and the task_state have kept other operations from the server, and a lost attachment never comes back.
            for _ in door.reconciler.execute(judged, journal, observes=False, prepare=door.prepare):
                pass

    def _look(self, context: Any, instance: Any, settings: config.Settings, budget: Budget) -> tuple[HostDoor, Judged]:
        cinder = CinderApi(*self._cinder_access(), budget.left)
        policy = Policy(
            door=Door.REBOOT,
            grace=timedelta(),
            attach_timeout=settings.attach_timeout,
            available_means_gone=settings.available_means_gone,
            guest_off=guests.of(self.driver).rebuilds_guests,
            at_host=True,
        )
        system = NovaCompute(context, instance, rebooting=True)
        door = HostDoor(self, context, instance, system, cinder, policy, budget)
        return door, door.reconciler.audit(instance.uuid)

    def _is_allowed(self, judged: Judged, settings: config.Settings, instance: Any, reboot_type: str) -> bool:
        limits = planning.Limits(max_removals=settings.max_removals, max_removals_percent=settings.max_removals_percent)
        refusal = planning.refusal(judged.changes, limits, {})
        if refusal:
            LOG.warning("No volume attachment is removed: %s", refusal, instance=instance)
        elif any(map(_is_connected, judged.changes)) and reboot_type == "SOFT" and settings.soft_reboot == "defer":
            LOG.warning(
                "%d stale volume attachments remain until a hard reboot", len(judged.changes), instance=instance
            )
        else:
            return True
        return False

    def remove_one(
        self,
        context: Any,
        server_id: str,
        identity: Identity,
        door: Door,
        allowed: dict[str, Any],
        deadline: float,
    ) -> Outcome:
        """Remove the row of the identity for a command or sweep on another machine; the caller has the instance lock.

        The deadline is in seconds since 1970, by the clock of the caller's machine. After it nothing is removed,
        because the caller no longer waits.
        """
        settings = config.settings(CONF)
        budget = Budget(settings.reboot_budget)
        try:
            instance = objects.Instance.get_by_uuid(context, server_id)
            cinder = CinderApi(*self._cinder_access(), budget.left)
            if instance.host != self.host:
                return Outcome(result=Result.CHANGED_MEANWHILE, detail=f"the server is on host {instance.host}")
            with claim.claimed(instance):
                # The power state in the database may be minutes old.
                instance.power_state = self._get_power_state(instance)
                system = NovaCompute(context, instance, claim=claim.CLAIM)
                # The caller has waited for the grace period and has checked for unfinished actions; only the databases
                # have those.
                policy = Policy(
                    door=door, grace=timedelta(), attach_timeout=settings.attach_timeout, at_host=True, **allowed
                )
                # Where a host is silent there must be time left for the rest.
                others = NovaRpc(max((deadline - time.time()) / 4, 1), lambda _: nova.rpc.TRANSPORT)
                ours = HostDoor(self, context, instance, system, cinder, policy, budget, deadline, others)
                return self._remove_one(ours, self._journal(settings, door), identity)
        except nova.exception.InstanceNotFound:
            return Outcome(result=Result.CHANGED_MEANWHILE, detail="the server is deleted")
        except claim.ClaimError as error:
            return Outcome(result=Result.CHANGED_MEANWHILE, detail=str(error))
        except (keystone.CredentialsError, ConnectionError) as error:
            return Outcome(result=Result.FAILED, detail=str(error))
        except UnpreparedError as error:
            return Outcome(result=error.result, detail=str(error))
        except JournalUnwritableError as error:
            return Outcome(result=Result.FAILED, detail=f"{error} on host {self.host}")

    def release(
        self, context: Any, server_id: str, volume_id: str, attachment_id: str, deadline: float
    ) -> Refusal | None:
        """Disconnect here what a server on another host has left; that host has claimed the server."""
        budget = Budget(config.settings(CONF).reboot_budget)
        try:
            return release.release(
                self,
                context,
                CinderApi(*self._cinder_access(), budget.left),
                budget,
                server_id=server_id,
                volume_id=volume_id,
                attachment_id=attachment_id,
                deadline=deadline,
            )
        except (nova.exception.NovaException, keystone.CredentialsError, ConnectionError) as error:
            return Refusal(f"host {self.host} cannot disconnect it ({type(error).__name__})")

    def _remove_one(self, door: HostDoor, journal: Journal, identity: Identity) -> Outcome:
        door.require_time()
        judged = door.reconciler.audit(door.instance.uuid)
        if judged.unread:
            return Outcome(result=Result.FAILED, detail=_all(judged.unread))
        for _, outcome in door.reconciler.execute(
            judged, journal, prepare=door.prepare, wanted=lambda finding: finding.identity == identity
        ):
            return outcome
        kept = [finding.reason for finding in judged.findings if finding.identity.has_rows_of(identity)]
        return Outcome(
            result=Result.CHANGED_MEANWHILE, detail=" ".join(["the host checked again and keeps it:", *kept])
        )

    def _journal(self, settings: config.Settings, door: Door) -> Journal:
        return Journal(settings.state_dir, run_id=f"{self.host}-{uuid4().hex[:12]}", door=door, clock=clock)

    def _shut_down(self, instance: Any, *, gracefully: bool) -> None:
        """Power the guest off, gracefully for a soft reboot, so that no disk is in use when it is removed."""
        before = instance.task_state
        instance.task_state = task_states.REBOOT_PENDING_HARD
        # This comes first: a nova-compute that dies after it finds the pending reboot when it starts again, and repeats
        # it as a hard reboot (nova compute/manager.py:_retry_reboot).
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

    def _cinder_access(self) -> keystone.Access:
        # One session for the lifetime of the service. It keeps the token, and it is safe to use in several threads.
        if self._access is None:
            self._access = keystone.cinder_client(CONF, {}, timeout=CONF.dedangle.reboot_budget)
            self._access.client.connect_retries = self._access.client.status_code_retries = 0
        return self._access


def _is_connected(finding: Finding) -> bool:
    """Whether the guest must be off for the removal, because the mapping or the attachment was connected."""
    if finding.attachment and finding.remedy is Remedy.REMOVE_ATTACHMENT:
        return not finding.attachment.is_reserved
    return finding.mapping is not None and finding.mapping.has_connection_info


def _all(sentences: Iterable[str]) -> str:
    return "; ".join(sentences)
