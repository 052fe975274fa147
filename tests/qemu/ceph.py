# SPDX-License-Identifier: Apache-2.0
"""A Ceph cluster with one monitor and one OSD, for volumes that are RBD images."""

import json
import socket
import subprocess
import sysconfig
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from storage import run

from dedangle.lab import packages
from dedangle.lab.client import wait_for
from dedangle.lab.errors import LabError
from dedangle.lab.home import ADDRESS
from dedangle.lab.turns import alone_with

POOL = "volumes"
# Cephx is off, but Nova and libvirt take the same path as with it when a user and a secret are named.
USER = "cinder"
PACKAGES = packages.Packages(
    names=("ceph-common", "ceph-mon", "ceph-osd", "python3-rados", "python3-rbd", "qemu-block-extra"),
    programs=("ceph", "ceph-authtool", "ceph-mon", "ceph-osd", "monmaptool", "rbd"),
    files=(Path("/usr/lib/x86_64-linux-gnu/qemu/block-rbd.so"),),
)
_BINDINGS = [
    Path("/usr/lib/python3/dist-packages", f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}")
    for name in ("rados", "rbd")
]
# Without a manager: nothing here needs one, and it takes 300 MB of memory. The OSD takes the first free port itself.
# The directory of classes is a relative one in Debian 13's Ceph.
# Protocol v2 only: with v1 and without cephx, Ceph 16 may send a command before it has the monitor map. The monitor
# refuses it ("wrong fsid"); `ceph` fails then, and an OSD ends.
_CONFIGURATION = """\
[global]
fsid = {fsid}
mon_host = v2:{address}:{port}
public_network = {address}/8
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
mon_allow_pool_size_one = true
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
bluestore_block_size = 10737418240
osd_class_dir = /usr/lib/x86_64-linux-gnu/rados-classes
mon_data = {directory}/mon
osd_data = {directory}/osd
run_dir = {directory}
crash_dir = {directory}
keyring = {directory}/keyring
log_file = {directory}/$name.log
admin_socket =
"""
_SECRET = """\
<secret ephemeral='yes' private='no'>
  <uuid>{fsid}</uuid>
  <usage type='ceph'><name>{user}</name></usage>
</secret>
"""


class Cluster:
    """A running cluster, which keeps everything below `directory`."""

    def __init__(self, directory: Path, fsid: str) -> None:
        self.conf = directory / "ceph.conf"
        self.secret = directory / "secret.xml"
        """What libvirt must define before a domain can name the cluster."""
        self.fsid = fsid

    def key(self) -> str:
        """Return a key for the secret; Ceph does not check it, but a client refuses what is not a key."""
        return run("ceph-authtool", "--gen-print-key").strip()

    def ceph(self, *command: str) -> str:
        return run("ceph", "--conf", str(self.conf), *command)

    def rbd(self, *command: str) -> str:
        return run("rbd", "--conf", str(self.conf), *command)

    def images(self) -> set[str]:
        """Return the names of all images."""
        return set(json.loads(self.rbd("ls", POOL, "--format", "json")))

    def watchers(self, image: str) -> int:
        """Return how many clients have the image open for writing; each guest that uses it is one."""
        return len(json.loads(self.rbd("status", f"{POOL}/{image}", "--format", "json"))["watchers"])


def install(bindings: Path) -> None:
    """Install Ceph, and link the modules `rados` and `rbd` into a directory; raise LabError if that is impossible."""
    packages.ensure_installed(PACKAGES)
    for binding in _BINDINGS:
        if not binding.exists():
            raise LabError(f"the Python bindings of Debian's Ceph do not fit this Python: {binding} does not exist")
        # The directory beside it has all of Debian's Python packages, which must not be imported here.
        (bindings / binding.name).symlink_to(binding)


@contextmanager
def cluster(directory: Path) -> Iterator[Cluster]:
    """Make a cluster in a new directory, and run it; its daemons end with the tests."""
    directory.mkdir()
    cluster = Cluster(directory, str(uuid.uuid4()))
    cluster.secret.write_text(_SECRET.format(fsid=cluster.fsid, user=USER))
    with ExitStack() as running:
        # Until the monitor listens on the port, another cluster might choose it too.
        with alone_with(Path(tempfile.gettempdir())):
            port = _free_port()
            settings = {"fsid": cluster.fsid, "address": ADDRESS, "port": port, "directory": directory}
            cluster.conf.write_text(_CONFIGURATION.format(**settings))
            _make_monitor(cluster, directory / "monmap", port)
            monitor = running.enter_context(_daemon(cluster, "ceph-mon", "a"))
            _wait(monitor, "Ceph's monitor listens", lambda: _listens(port))
        (directory / "osd").mkdir()
        identity = str(uuid.uuid4())
        number = cluster.ceph("osd", "new", identity).strip()
        _quietly("ceph-osd", "--conf", str(cluster.conf), "-i", number, "--mkfs", "--osd-uuid", identity)
        osd = running.enter_context(_daemon(cluster, "ceph-osd", number))
        _wait(osd, "Ceph's OSD is up", lambda: json.loads(cluster.ceph("osd", "stat", "-f", "json"))["num_up_osds"])
        cluster.ceph("osd", "pool", "create", POOL, "8")
        cluster.rbd("pool", "init", POOL)
        yield cluster


def _make_monitor(cluster: Cluster, monmap: Path, port: int) -> None:
    address = f"[v2:{ADDRESS}:{port}]"
    _quietly("monmaptool", "--create", "--fsid", cluster.fsid, "--addv", "a", address, str(monmap))
    _quietly("ceph-mon", "--conf", str(cluster.conf), "--mkfs", "-i", "a", "--monmap", str(monmap))


@contextmanager
def _daemon(cluster: Cluster, program: str, name: str) -> "Iterator[subprocess.Popen[bytes]]":
    """Run a daemon in the foreground; the kernel kills it if the tests die."""
    command = ["setpriv", "--pdeathsig", "KILL", program, "--foreground", "--conf", str(cluster.conf), "-i", name]
    with (
        cluster.conf.with_name(f"{program}.out").open("w") as log,
        # Ctrl-C is for pytest, which then stops the daemons in order.
        subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()


def _wait(process: "subprocess.Popen[bytes]", what: str, is_up: Callable[[], object]) -> None:
    wait_for(what, lambda: process.poll() is not None or is_up())
    assert process.poll() is None, f"{what}: no, the daemon ended with {process.returncode}"


def _quietly(*command: str) -> None:
    """Run a program that logs its ordinary work to stderr; the error of one that fails has all of it."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise LabError(f"`{' '.join(command)}` failed: {done.stdout.strip()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((ADDRESS, port)) == 0
