# SPDX-License-Identifier: Apache-2.0
"""A ComputeManager that cleans as stock Nova does or as dedangle does, by the server's name, and times the clean-up."""

import json
import os
import time
from pathlib import Path
from typing import Any

from nova.compute import manager

from dedangle.compute.manager import ComputeManager

TIMES = Path(os.environ["DEDANGLE_TIMES"])


class TimingManager(ComputeManager):
    def _reboot_instance(self, context: Any, instance: Any, block_device_info: Any, reboot_type: str) -> None:
        if instance.display_name.startswith("stock-"):
            manager.ComputeManager._reboot_instance(self, context, instance, block_device_info, reboot_type)
        else:
            super()._reboot_instance(context, instance, block_device_info, reboot_type)

    def _delete_dangling_bdms(self, context: Any, instance: Any, bdms: Any) -> None:
        if instance.display_name.startswith("stock-"):
            began = time.perf_counter()
            manager.ComputeManager._delete_dangling_bdms(self, context, instance, bdms)
            _record(instance, began)

    def _remove_dangling(self, context: Any, instance: Any, reboot_type: str) -> None:
        began = time.perf_counter()
        super()._remove_dangling(context, instance, reboot_type)
        _record(instance, began)


def _record(instance: Any, began: float) -> None:
    with TIMES.open("a") as times:
        times.write(json.dumps([instance.uuid, time.perf_counter() - began]) + "\n")
