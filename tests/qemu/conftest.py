# SPDX-License-Identifier: Apache-2.0
"""A lab whose nova-compute drives a real libvirt and QEMU, with volumes on loop devices, on a share and in Ceph."""

import os
import platform
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import ceph as ceph_cluster
import pytest
from bed import Bed, install_libvirt_python, make_guest
from ceph import Cluster
from host import Host
from hypervisor import Hypervisor, libvirtd
from storage import export, given_back, pass_mounts_on, run

from cases.stage import Stage
from dedangle.lab import packages
from dedangle.lab.cloud import Cloud
from dedangle.lab.errors import LabError
from lab.labs import processes_of

_DRIVERS = Path("/usr/lib/x86_64-linux-gnu/libvirt/connection-driver")
LIBVIRT = packages.Packages(
    names=(
        "binutils",
        "gcc",
        "libc6-dev",
        "libvirt-clients",
        "libvirt-daemon",
        "libvirt-daemon-driver-qemu",
        "libvirt-dev",
        "pkg-config",
        "python3-dev",
        "qemu-system-x86",
        "qemu-utils",
        "seabios",
    ),
    programs=("as", "gcc", "ld", "libvirtd", "pkg-config", "qemu-img", "qemu-system-x86_64", "virsh"),
    files=(
        Path("/usr/include/libvirt/libvirt.h"),
        _DRIVERS / "libvirt_driver_qemu.so",
        _DRIVERS / "libvirt_driver_secret.so",
        Path(sysconfig.get_path("include"), "Python.h"),
    ),
    # In Debian 12 it is part of libvirt-daemon.
    split_off=("libvirt-daemon-driver-secret",),
)


@pytest.fixture(scope="package")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory of everything that these tests make, on a machine that lets them."""
    if os.geteuid() != 0:
        pytest.skip("these tests mount file systems and make loop devices, which only root may")
    if platform.machine() != "x86_64":
        pytest.skip("the guest of these tests is assembled for x86")
    try:
        packages.ensure_installed(LIBVIRT)
        run("unshare", "--mount", "--pid", "--fork", "--mount-proc", "true")
        run("losetup", "--find")
    except LabError as missing:
        pytest.skip(str(missing))
    except subprocess.CalledProcessError as refused:
        pytest.skip(f"root may not run `{' '.join(refused.cmd)}` on this machine")
    home = tmp_path_factory.mktemp("libvirt")
    with given_back(home):
        yield home
    assert processes_of(home) == []


@pytest.fixture(scope="package")
def ceph_or_reason(home: Path) -> Iterator[Cluster | str]:
    """A Ceph cluster, or why this machine cannot run one: the other back ends are tested without it."""
    (home / "python").mkdir()
    try:
        ceph_cluster.install(home / "python")
    except LabError as missing:
        yield str(missing)
        return
    with ceph_cluster.cluster(home / "ceph") as cluster:
        yield cluster


@pytest.fixture(scope="package")
def hypervisor(home: Path, ceph_or_reason: Cluster | str) -> Iterator[Hypervisor]:
    # After Ceph: QEMU's driver for it must be there when libvirtd starts.
    pass_mounts_on(home / "mounts")
    with libvirtd(home / "libvirt") as hypervisor:
        if isinstance(ceph_or_reason, Cluster):
            hypervisor.define_secret(ceph_or_reason.secret, ceph_or_reason.key())
        yield hypervisor


@pytest.fixture(scope="package")
def bed(home: Path, hypervisor: Hypervisor, ceph_or_reason: Cluster | str) -> Bed:
    export(home / "export")
    make_guest(home / "guest")
    install_libvirt_python(home / "python")
    (home / "instances").mkdir()
    return Bed(home, hypervisor, ceph_or_reason)


@pytest.fixture(scope="package")
def cloud(bed: Bed) -> Iterator[Cloud]:
    with bed.lab("lab") as cloud:
        yield cloud


@pytest.fixture
def ceph(ceph_or_reason: Cluster | str) -> Cluster:
    """The Ceph cluster; a test without it is skipped and says why."""
    if isinstance(ceph_or_reason, str):
        pytest.skip(f"no volumes in Ceph: {ceph_or_reason}")
    return ceph_or_reason


@pytest.fixture
def stage(cloud: Cloud) -> Stage:
    return Stage(cloud)


@pytest.fixture
def host(bed: Bed, stage: Stage) -> Iterator[Host]:
    host = Host(bed, stage)
    yield host
    for server in stage.user.user.nova("GET", "/servers", expect=200).body["servers"]:
        stage.user.delete(server["id"])
    assert (host.exports(), host.shares()) == (set(), [])
    host.wait_watched({})
