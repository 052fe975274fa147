# SPDX-License-Identifier: Apache-2.0
"""What /sys shows of the block devices of this host; nothing is run."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path("/")
_MULTIPATH, _ENCRYPTED = "mpath-", "CRYPT-"
# The prefixes of the kernel, and those of udev and multipathd.
_TYPES = {"naa.": "3", "eui.": "2"}


def entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except FileNotFoundError:
        return []


def text(file: Path) -> str:
    """Return the text of a file; empty if there is none."""
    try:
        return file.read_text()
    except FileNotFoundError:
        return ""


def is_multipath(name: str) -> bool:
    """Whether the block device is a map of multipathd."""
    return _dm_uuid(name).startswith(_MULTIPATH)


def wwn(path: str) -> str:
    """Return the WWN of the device at a path, as udev writes it; empty if /sys does not show one.

    The WWN of an encrypted volume is that of the device below its decrypted one.
    """
    real = os.path.realpath(path)
    try:
        return _wwn_of(Path(real).name) if real.startswith("/dev/") else ""
    except OSError:
        # The device is being removed.
        return ""


def _wwn_of(name: str) -> str:
    if is_multipath(name):
        return _dm_uuid(name).removeprefix(_MULTIPATH).lower()
    if _dm_uuid(name).startswith(_ENCRYPTED):
        return next((_wwn_of(each.name) for each in entries(ROOT / "sys/block" / name / "slaves")), "")
    word = text(ROOT / "sys/block" / name / "device/wwid").strip().lower()
    return next((f"{short}{word.removeprefix(kind)}" for kind, short in _TYPES.items() if word.startswith(kind)), "")


def _dm_uuid(name: str) -> str:
    return text(ROOT / "sys/block" / name / "dm/uuid").strip()
