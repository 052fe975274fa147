# SPDX-License-Identifier: Apache-2.0
"""The compute host of a lab, seen from below Nova, and disks that a guest gets or keeps."""

import re
from pathlib import Path

from bed import Bed
from ceph import Cluster
from storage import loops, mounts

from cases.stage import Stage
from dedangle.lab.builders import Server
from dedangle.lab.client import wait_for


class Host:
    """What the compute host holds: for Nova and libvirt, for the kernel, for Ceph, and as the guests see it."""

    def __init__(self, bed: Bed, stage: Stage) -> None:
        self._bed = bed
        self._stage = stage
        self.hypervisor = bed.hypervisor

    def disks_seen_by_guest(self, server: str) -> int:
        """How many disks the guest has counted while it started."""

        def counted() -> re.Match[str] | None:
            answer = self._stage.user.user.nova("POST", f"/servers/{server}/action", {"os-getConsoleOutput": {}})
            return re.search(r"BOOTED disks=(\d)", answer.body["output"]) if answer.status == 200 else None

        return int(wait_for(f"the guest of server {server} has booted", counted)[1])

    def exports(self) -> set[str]:
        """The volumes of the loop back end that have a loop device, however it came to be still there."""
        return {name.removeprefix("volume-") for name in loops(self._bed.home / "loops")}

    def shares(self) -> list[Path]:
        """The shares that nova-compute has mounted."""
        return mounts(self._bed.home / "mounts")

    def watched(self) -> dict[str, int]:
        """How many guests have each RBD volume open, for the volumes that any guest has open."""
        ceph = self._bed.ceph
        if not isinstance(ceph, Cluster):
            return {}
        watchers = {image.removeprefix("volume-"): ceph.watchers(image) for image in sorted(ceph.images())}
        return {volume: count for volume, count in watchers.items() if count}

    def wait_watched(self, watched: dict[str, int]) -> None:
        """Wait until guests have these RBD volumes open, and no other."""
        # Of a guest that had to be killed Ceph counts the watch until it times out after 30 s.
        wait_for(f"guests have only {watched} open", lambda: self.watched() == watched)


def attached(stage: Stage, server: Server, kind: str) -> str:
    """Attach a new volume of a type to the server."""
    volume = stage.user.volume(kind=kind)
    stage.user.attach(server.id, volume)
    return volume


def ghost(stage: Stage, server: Server, kind: str) -> str:
    """Give the guest a disk that neither database has a live row of, and return its volume."""
    volume = attached(stage, server, kind)
    stage.breaks.lose_attachment(server.id, volume)
    (key,) = stage.mapping_keys(server.id, [volume])
    stage.edit_mapping(server, volume, deleted=int(key.split("/")[1]))
    return volume
