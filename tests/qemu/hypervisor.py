# SPDX-License-Identifier: Apache-2.0
"""A separate libvirtd, and what libvirt and QEMU report about the guests."""

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

from storage import run

from dedangle.lab.client import wait_for

# What a libvirtd that runs as root keeps where is compiled in.
_PLACES = {"etc": "/etc/libvirt", "run": "/run", "lib": "/var/lib", "log": "/var/log", "cache": "/var/cache"}
_CONFIGURATION = {
    "libvirtd.conf": 'auth_unix_rw = "none"\nauth_unix_ro = "none"\n',
    "qemu.conf": """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
""",
}
# Its QEMU driver does not load without this account, whichever one the guests run as.
_ACCOUNT = {"/etc/passwd": "libvirt-qemu:x:64055:64055::/:/usr/sbin/nologin\n", "/etc/group": "libvirt-qemu:x:64055:\n"}
# If the tests die, it dies, and with the first process of a process namespace the kernel ends all others: the guests.
_OWN_NAMESPACES = (
    "setpriv --pdeathsig KILL unshare --uts --mount --propagation=slave --pid --fork --kill-child --mount-proc"
)


class Hypervisor:
    """What a libvirtd that keeps everything below `directory` says."""

    def __init__(self, directory: Path) -> None:
        self._logs = directory / "log" / "libvirt" / "qemu"
        self._socket = directory / "run" / "libvirt" / "libvirt-sock"
        self.uri = f"qemu+unix:///system?socket={self._socket}"

    def virsh(self, *command: str) -> str:
        return run("virsh", "--connect", self.uri, *command).strip()

    def volumes(self, server: str) -> list[str]:
        """Which volumes are behind the disks of a server's domain, which must be the same now and at its next start."""
        running, next_start = (_serials(self.virsh("dumpxml", *how, server)) for how in ([], ["--inactive"]))
        assert running == next_start
        return running

    def sources(self, server: str) -> dict[str, str]:
        """What is behind each disk of the running guest, by the serial that Nova gave the disk when it attached it."""
        disks = ElementTree.fromstring(self.virsh("dumpxml", server)).iterfind("./devices/disk")
        return {str(disk.findtext("serial")): _source(disk) for disk in disks}

    def pivot(self, server: str, volume: str, name: str, directory: Path) -> None:
        """Copy what is behind a volume's disk to another place of the same kind, and let the guest go on with that.

        Nova's swap of volumes does so; the disk keeps its serial (nova virt/libvirt/driver.py:_swap_volume).
        """
        domain = ElementTree.fromstring(self.virsh("dumpxml", "--inactive", server))
        (disk,) = (each for each in domain.iterfind("./devices/disk") if each.findtext("serial") == volume)
        source, target = disk.find("source"), disk.find("target")
        assert source is not None
        assert target is not None
        source.set("name", name)
        copy = directory / f"{server}.xml"
        copy.write_text(ElementTree.tostring(disk, encoding="unicode"))
        job = ["--xml", str(copy), "--reuse-external", "--transient-job", "--wait", "--pivot"]
        self.virsh("blockcopy", server, str(target.get("dev")), *job)

    @contextmanager
    def writing(self, server: str, volumes: list[str]) -> Iterator[list[str]]:
        """Write to the disks of the running guest, by its own block devices, and yield the volumes, write by write."""
        written: list[str] = []
        ended = threading.Event()

        def write() -> None:
            while not ended.is_set():
                for volume in volumes:
                    device = f"/machine/peripheral/ua-{volume}/virtio-backend"
                    # -d: a device of the guest, as QEMU names it.
                    self.virsh("qemu-monitor-command", "--hmp", server, f'qemu-io -d {device} "write 512 512"')
                    written.append(volume)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            wait_for("each disk is written to", lambda: len(written) >= len(volumes) or not thread.is_alive())
            yield written
        finally:
            ended.set()
            thread.join()

    def writes(self, server: str) -> list[str]:
        """Return the results of the writes to the guest's disks, which QEMU prints to its log."""
        return re.findall(r"wrote \d+/\d+ bytes|.*failed.*", self._log(server).read_text())

    def errors(self, server: str) -> str:
        """Return the I/O errors that the guest's disks have met; empty if there were none."""
        answer = self.virsh("domblkerror", server)
        return "" if answer == "No errors found" else answer

    def guests(self) -> set[str]:
        """Return the ids of the servers that have a domain."""
        return set(self.virsh("list", "--all", "--uuid").split())

    def end(self, server: str) -> None:
        """Destroy a server's guest, and forget its domain, behind Nova's back."""
        self.virsh("destroy", server)
        self.virsh("undefine", server)

    def define_secret(self, secret: Path, value: str) -> None:
        """Define a secret that domains may name."""
        self.virsh("secret-define", str(secret))
        identity = str(ElementTree.parse(secret).findtext("uuid"))
        self.virsh("secret-set-value", "--secret", identity, "--base64", value)

    def endings(self, server: str) -> list[str]:
        """How the guests of a server have ended until now: `shutdown` by themselves, or `destroyed`."""
        return re.findall(r"shutting down, reason=(\w+)", self._log(server).read_text())

    def _log(self, server: str) -> Path:
        return self._logs / f"{self.virsh('domname', server)}.log"

    def answers(self) -> bool:
        try:
            return self._socket.exists() and bool(self.virsh("capabilities"))
        except subprocess.CalledProcessError:
            return False


@contextmanager
def libvirtd(directory: Path) -> Iterator[Hypervisor]:
    """Run a libvirtd in namespaces of its own, which leaves the machine's own libvirt alone, on a host of that name.

    It sees what is mounted outside where that is mounted below a shared mount; its guests end with it.
    """
    binds = {directory / name: place for name, place in _PLACES.items()}
    for each in binds:
        each.mkdir(parents=True)
    for name, text in _CONFIGURATION.items():
        (directory / "etc" / name).write_text(text)
    for place, line in _ACCOUNT.items():
        own = directory / Path(place).name
        own.write_text(Path(place).read_text() + line)
        binds[own] = place
    # Without exec: the first process of a process namespace must reap orphans, as a shell does and libvirtd does not.
    script = "\n".join(
        [
            "set -e",
            f"hostname {directory.name}",
            *(f"mount --bind '{own}' {place}" for own, place in binds.items()),
            "libvirtd",
            "",
        ]
    )
    hypervisor = Hypervisor(directory)
    with (
        (directory / "libvirtd.out").open("w") as log,
        subprocess.Popen(
            [*_OWN_NAMESPACES.split(), "sh", "-c", script], stdout=log, stderr=log, start_new_session=True
        ) as process,
    ):
        try:
            wait_for(f"a libvirtd ({log.name})", lambda: process.poll() is not None or hypervisor.answers())
            assert process.poll() is None, Path(log.name).read_text()
            yield hypervisor
        finally:
            # unshare waits for its child, and the kernel lets that end when everything in its namespace has.
            os.killpg(process.pid, signal.SIGTERM)


def _serials(domain: str) -> list[str]:
    return [str(disk.findtext("serial")) for disk in ElementTree.fromstring(domain).iterfind("./devices/disk")]


def _source(disk: ElementTree.Element) -> str:
    source = disk.find("source")
    assert source is not None
    return next(value for name in ("file", "dev", "name") if (value := source.get(name)))
