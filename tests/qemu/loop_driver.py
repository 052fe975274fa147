# SPDX-License-Identifier: Apache-2.0
"""A Cinder driver whose volumes are sparse files, exported as loop devices of the one host there is."""

import shutil
from pathlib import Path

from cinder import interface
from cinder.volume import driver
from oslo_concurrency import processutils
from oslo_config import cfg
from oslo_utils import units

OPTIONS = [
    cfg.StrOpt("loop_directory", help="Where the files are."),
    cfg.StrOpt("loop_boot_sector", help="What every new volume begins with."),
]


@interface.volumedriver
class LoopDriver(driver.VolumeDriver):
    VERSION = "1"
    CI_WIKI_NAME = "none"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.configuration.append_config_values(OPTIONS)

    def check_for_setup_error(self):
        Path(self.configuration.loop_directory).mkdir(exist_ok=True)

    def _update_volume_stats(self):
        self._stats = {
            "volume_backend_name": self.configuration.volume_backend_name,
            "vendor_name": "dedangle",
            "driver_version": self.VERSION,
            "storage_protocol": "local",
            "total_capacity_gb": "infinite",
            "free_capacity_gb": "infinite",
        }

    def create_volume(self, volume):
        shutil.copyfile(self.configuration.loop_boot_sector, self._file(volume))
        with self._file(volume).open("r+b") as file:
            file.truncate(volume.size * units.Gi)

    def delete_volume(self, volume):
        self._file(volume).unlink(missing_ok=True)

    def ensure_export(self, context, volume):
        pass

    def create_export(self, context, volume, connector):
        if not self._device(volume):
            processutils.execute("losetup", "--find", self._file(volume))

    def remove_export(self, context, volume):
        # While a guest has it open, the kernel only marks it, and detaches it with the last close.
        if device := self._device(volume):
            processutils.execute("losetup", "--detach", device)

    def initialize_connection(self, volume, connector):
        return {"driver_volume_type": "local", "data": {"device_path": self._device(volume)}}

    def terminate_connection(self, volume, connector, **kwargs):
        pass

    def _file(self, volume):
        return Path(self.configuration.loop_directory, volume.name)

    def _device(self, volume):
        out, _ = processutils.execute("losetup", "--associated", self._file(volume), "--output", "NAME", "--noheadings")
        return out.split("\n")[0].strip()
