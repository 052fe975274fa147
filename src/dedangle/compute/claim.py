# SPDX-License-Identifier: Apache-2.0
"""A server is claimed while its host cleans it.

start, rescue, resume, rebuild and resize take no instance lock; nova-api refuses them while a task_state is set.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from nova import exception
from nova.compute import task_states, vm_states
from oslo_log import log as logging

LOG = logging.getLogger(__name__)

# One of those that nova-compute clears when it starts, for every vm_state but ERROR (nova compute/manager.py:
# _init_instance, the same from 27 to 34): a host that dies in the middle leaves no server claimed for ever.
CLAIM = task_states.IMAGE_SNAPSHOT_PENDING


class ClaimError(Exception):
    """Somebody else works on the server; the message says who."""


@contextlib.contextmanager
def claimed(instance: Any) -> Iterator[None]:
    """Claim the server by compare-and-swap while the block lasts; raises ClaimError before it."""
    if instance.vm_state == vm_states.ERROR:
        raise ClaimError("the server is in ERROR; a hard reboot cleans it")
    instance.task_state = CLAIM
    try:
        instance.save(expected_task_state=[None])
    except exception.UnexpectedTaskStateError as error:
        instance.task_state = None
        raise ClaimError("somebody else changes the server just now") from error
    try:
        yield
    finally:
        instance.task_state = None
        try:
            instance.save(expected_task_state=[CLAIM])
        except exception.NovaException as error:
            # A delete may have come in between, which no task_state keeps away.
            LOG.warning("The claim was not given back: %s", error, instance=instance)
