# SPDX-License-Identifier: Apache-2.0
"""How a release is built: an sdist, and the wheel from it."""

import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
UV = Path(sys.executable).with_name("uv")


@dataclass(frozen=True)
class Built:
    sdist: Path
    wheel: Path

    @property
    def version(self) -> str:
        return self.wheel.name.split("-")[1]

    def files_of_sdist(self) -> set[str]:
        """Without the folder that all are in."""
        with tarfile.open(self.sdist) as archive:
            return {each.name.partition("/")[2] for each in archive.getmembers() if each.isfile()}

    def files_of_wheel(self) -> set[str]:
        with zipfile.ZipFile(self.wheel) as archive:
            return set(archive.namelist())


def build(source: Path, target: Path) -> Built:
    """Build from a work tree, an sdist or an archive of one."""
    subprocess.run([UV, "build", "--quiet", "--out-dir", target, source], check=True)
    (sdist,), (wheel,) = target.glob("*.tar.gz"), target.glob("*.whl")
    return Built(sdist, wheel)
