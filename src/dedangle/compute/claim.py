# SPDX-License-Identifier: Apache-2.0
"""Claim a server by its task_state while its host cleans it.

start, rescue, resume, rebuild and resize take no instance lock, but nova-api refuses them while a task_state is set.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from nova import exception
from nova.compute import task_states, vm_states
from oslo_log import log as logging

LOG = logging.getLogger(__name__)

# nova-compute clears this task_state when it starts, for every vm_state except ERROR and SOFT_DELETED (nova
# compute/manager.py:_init_instance, the same from 27 to 34). So a host that dies during a claim does not block the
# server permanently.
CLAIM = task_states.IMAGE_SNAPSHOT_PENDING


_TRIES = 3


class ClaimError(Exception):
    """The server cannot be claimed. The message says why."""


@contextlib.contextmanager
def claimed(instance: Any) -> Iterator[None]:
    """Claim the server by compare-and-swap for the duration of the block; raise ClaimError before it."""
    if instance.vm_state == vm_states.ERROR:
        raise ClaimError("the server is in ERROR; a hard reboot can clean it")
    if instance.vm_state == vm_states.SOFT_DELETED:
        raise ClaimError("the server is SOFT_DELETED; --no-host can clean it")
    instance.task_state = CLAIM
    try:
        instance.save(expected_task_state=[None])
    except exception.UnexpectedTaskStateError as error:
        instance.task_state = None
        raise ClaimError("another operation on the server has started") from error
    except Exception as error:
        # The answer was lost, and with it whether the server is claimed.
        _give_back(instance)
        raise ClaimError(f"Nova did not answer whether the server is claimed ({type(error).__name__})") from error
    try:
        yield
    finally:
        _give_back(instance)


def _give_back(instance: Any) -> None:
    """Give the claim back, where the server is claimed; never raises: what was done under the claim is done."""
    instance.task_state = None
    for left in reversed(range(_TRIES)):
        try:
            instance.save(expected_task_state=[CLAIM])
        except exception.NovaException as error:  # noqa: PERF203 -- a few at most
            # A delete may have started meanwhile; nova-api allows it with any task_state.
            LOG.warning("The task_state was not reset after the removal: %s", error, instance=instance)
            return
        except Exception as error:  # noqa: BLE001 -- the conductor, the bus or the database was lost
            if not left:
                LOG.warning(
                    "The claim may not have been given back (%s): nova-compute does so when it starts again",
                    type(error).__name__,
                    instance=instance,
                )
        else:
            return
