# SPDX-License-Identifier: Apache-2.0
"""A ComputeManager whose nova-compute dies at the n-th step of a reboot's clean-up; the lab's processes import it."""

import functools
import json
import os
import signal
from pathlib import Path
from typing import Any

from nova import objects

from dedangle.compute import manager
from dedangle.state.journal import Journal
from dedangle.systems.cinder.api import CinderApi
from dedangle.systems.nova.compute import NovaCompute

PLAN = Path(os.environ["DEDANGLE_KILL_PLAN"])
"""Holds the number of the step to die at; what was passed until then is written beside it."""

_steps: list[str] = []
_cleaning = False


def _step(name: str) -> None:
    if not _cleaning:
        return
    _steps.append(name)
    PLAN.with_suffix(".passed").write_text(json.dumps(_steps))
    if PLAN.exists() and len(_steps) == int(PLAN.read_text()):
        PLAN.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def _stepping(owner: Any, name: str) -> None:
    """Make a step before and one after each call of the method."""
    method = getattr(owner, name)

    @functools.wraps(method)
    def stepping(*args: Any, **kwargs: Any) -> Any:
        _step(f"before {name}")
        result = method(*args, **kwargs)
        _step(f"after {name}")
        return result

    setattr(owner, name, stepping)


_stepping(Journal, "_append")
_stepping(objects.Instance, "save")
_stepping(NovaCompute, "soft_delete_mapping")
_stepping(CinderApi, "delete_attachment")


class KillingManager(manager.ComputeManager):
    def _remove_dangling(self, context: Any, instance: Any, reboot_type: str) -> None:
        global _cleaning
        if not hasattr(self.driver, "steps"):
            self.driver.steps = True
            _stepping(self.driver, "power_off")
            _stepping(self.driver, "detach_volume")
        _cleaning = True
        _steps.clear()
        super()._remove_dangling(context, instance, reboot_type)
        _step("done")
        _cleaning = False
