# SPDX-License-Identifier: Apache-2.0
"""The packages of the system that the MariaDB lab needs beside those of Python."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from dedangle.lab.errors import LabError

PACKAGES = ("mariadb-server", "rabbitmq-server")
# Not the one in PATH: that starts the server as user rabbitmq, who cannot read a lab in somebody's home.
RABBITMQ_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_POLICY = Path("/usr/sbin/policy-rc.d")


def ensure_installed() -> None:
    """Install what is missing, when we are root on Debian or Ubuntu; nothing of it is started."""
    if shutil.which("mariadbd") and RABBITMQ_SERVER.exists():
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise LabError(f"The MariaDB lab needs packages; as root: apt-get install {' '.join(PACKAGES)}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    with _nothing_starts():
        for step in (["update"], ["install", "--yes", "--no-install-recommends", *PACKAGES]):
            done = subprocess.run(
                ["apt-get", "--quiet", *step],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            if done.returncode:
                said = done.stdout.strip().splitlines() or ["nothing"]
                raise LabError(f"apt-get {step[0]} failed: {said[-1]}")


@contextlib.contextmanager
def _nothing_starts() -> Iterator[None]:
    """Keep the packages from starting their services: the lab runs private ones."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()
