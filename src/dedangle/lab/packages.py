# SPDX-License-Identifier: Apache-2.0
"""Packages of the system that a lab needs beside those of Python."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dedangle.lab import galera
from dedangle.lab.errors import LabError
from dedangle.lab.turns import alone_with

# Not the one in PATH: that starts the server as user rabbitmq, who cannot read a lab in somebody's home.
RABBITMQ_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_DPKG = Path("/var/lib/dpkg")
_POLICY = Path("/usr/sbin/policy-rc.d")


@dataclass(frozen=True)
class Packages:
    """Packages of Debian by name, and the programs and files that tell whether they are installed."""

    names: tuple[str, ...]
    programs: tuple[str, ...]
    files: tuple[Path, ...] = ()
    split_off: tuple[str, ...] = ()
    """Packages that newer releases have and older ones include in another."""

    @property
    def are_installed(self) -> bool:
        return all(map(shutil.which, self.programs)) and all(path.exists() for path in self.files)


MARIADB = Packages(("mariadb-server", "rabbitmq-server"), ("mariadbd",), (RABBITMQ_SERVER,))
# The nodes send one another their data with rsync, in a script that wants ss.
GALERA = Packages(
    (*MARIADB.names, "galera-4", "haproxy", "rsync", "iproute2"),
    (*MARIADB.programs, "haproxy", "rsync", "ss"),
    (*MARIADB.files, galera.PROVIDER),
)


def ensure_installed(packages: Packages) -> None:
    """Install what is missing, when we are root on Debian or Ubuntu; nothing of it is started."""
    if packages.are_installed:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise LabError(f"This lab needs packages; as root: apt-get install {' '.join(packages.names)}")
    # apt-get does not wait for another one, and one that has ended may have brought them.
    with alone_with(_DPKG):
        if not packages.are_installed:
            _install(packages)


def _install(packages: Packages) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}

    def apt(program: str, *step: str) -> str:
        done = subprocess.run(
            [program, "--quiet", *step],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            said = done.stdout.strip().splitlines() or ["nothing"]
            raise LabError(f"{program} {step[0]} failed: {said[-1]}")
        return done.stdout

    with _nothing_starts():
        apt("apt-get", "update")
        known = {name for each in packages.split_off for name in apt("apt-cache", "pkgnames", each).split()}
        split_off = [name for name in packages.split_off if name in known]
        apt("apt-get", "install", "--yes", "--no-install-recommends", *packages.names, *split_off)


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
