# SPDX-License-Identifier: Apache-2.0
"""What the tests borrow from the machine, mounts and loop devices, and give back."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def given_back(directory: Path) -> Iterator[None]:
    """Whatever happens inside, afterwards nothing is mounted below a directory and no loop device has a file of it."""
    try:
        yield
    finally:
        # Unchecked: what one of them leaves must not keep the others from going, and is seen below.
        for mount in reversed(mounts(directory)):
            subprocess.run(["umount", mount], check=False)
        for device in loops(directory).values():
            subprocess.run(["losetup", "--detach", device], check=False)
        assert (mounts(directory), loops(directory)) == ([], {})


def export(directory: Path) -> None:
    """Mount a file system to share: of a directory that is none, Nova takes a bind mount for no mount at all."""
    directory.mkdir()
    run("mount", "-t", "tmpfs", "none", str(directory))


def pass_mounts_on(directory: Path) -> None:
    """Let other mount namespaces see what will be mounted below a directory."""
    directory.mkdir()
    run("mount", "--bind", str(directory), str(directory))
    run("mount", "--make-shared", str(directory))


def mounts(directory: Path) -> list[Path]:
    """What is mounted below a directory, in the order in which it was mounted."""
    points = (Path(line.split()[4]) for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return [point for point in points if directory in point.parents]


def loops(directory: Path) -> dict[str, str]:
    """The loop device of each file below a directory that has one, by the file's name."""
    listed = run("losetup", "--json", "--output", "NAME,BACK-FILE")
    devices = json.loads(listed)["loopdevices"] if listed else []
    files = {Path(each["back-file"]): str(each["name"]) for each in devices}
    return {file.name: device for file, device in files.items() if directory in file.parents}


def run(*command: str) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
