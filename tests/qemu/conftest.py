# SPDX-License-Identifier: Apache-2.0
"""A lab whose nova-compute drives a real libvirt and QEMU, with volumes on loop devices and on a share like NFS."""

import os
import platform
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypervisor import Hypervisor, libvirtd
from storage import export, given_back, pass_mounts_on, run

from dedangle.lab import packages
from dedangle.lab.cloud import Cloud
from dedangle.lab.errors import LabError
from lab.labs import processes_of

HERE = Path(__file__).parent
CONSTRAINTS = HERE.parents[1] / "requirements" / "lab.txt"
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
        Path("/usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so"),
        Path(sysconfig.get_path("include"), "Python.h"),
    ),
)
TYPES = ("loop", "nfs")


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
def hypervisor(home: Path) -> Iterator[Hypervisor]:
    pass_mounts_on(home / "mounts")
    with libvirtd(home / "libvirt") as hypervisor:
        yield hypervisor


@pytest.fixture(scope="package")
def cloud(home: Path, hypervisor: Hypervisor) -> Iterator[Cloud]:
    export(home / "export")
    _make_guest(home / "guest")
    # It must fit the machine's libvirt, and nothing else here needs it: so it is kept out of .venv.
    uv = str(Path(sys.executable).with_name("uv"))
    to = ["--python", sys.executable, "--target", str(home / "python")]
    run(uv, "pip", "install", "--quiet", "--constraint", str(CONSTRAINTS), *to, "libvirt-python")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{home / 'python'}{os.pathsep}{HERE}")
        patch.setenv("PATH", str(HERE / "bin"), prepend=os.pathsep)
        lab = Cloud(home / "lab", nova_overrides=_nova(home, hypervisor), cinder_overrides=_cinder(home), say=print)
        with lab as cloud:
            for name in TYPES:
                kind = {"name": name, "extra_specs": {"volume_backend_name": name}}
                cloud.admin.cinder("POST", "/types", {"volume_type": kind}, expect=200)
            yield cloud


def _make_guest(image: Path) -> None:
    code = image.with_suffix(".o")
    run("as", "--32", "-o", str(code), str(HERE / "guest.s"))
    run("ld", "-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary", "-o", str(image), str(code))


# Root needs no sudo to be root.
_HELPER = {"helper_command": str(Path(sys.executable).with_name("privsep-helper"))}


def _nova(home: Path, hypervisor: Hypervisor) -> dict[str, dict[str, object]]:
    (home / "instances").mkdir()
    return {
        "DEFAULT": {"compute_driver": "libvirt.LibvirtDriver", "instances_path": home / "instances"},
        "libvirt": {
            "connection_uri": hypervisor.uri,
            "virt_type": "qemu",
            "cpu_mode": "none",
            # Not every file system in memory knows direct I/O.
            "disk_cachemodes": "file=writeback,block=writeback",
            "nfs_mount_point_base": home / "mounts",
        },
        "vnc": {"enabled": "false"},
        "nova_sys_admin": _HELPER,
        "privsep_osbrick": _HELPER,
    }


def _cinder(home: Path) -> dict[str, dict[str, object]]:
    return {
        "DEFAULT": {"enabled_backends": ",".join(TYPES), "default_volume_type": "loop"},
        "loop": {
            "volume_driver": "loop_driver.LoopDriver",
            "volume_backend_name": "loop",
            "loop_directory": home / "loops",
            "loop_boot_sector": home / "guest",
        },
        "nfs": {
            "volume_driver": "cinder.volume.drivers.nfs.NfsDriver",
            "volume_backend_name": "nfs",
            "nas_host": "127.0.0.1",
            "nas_share_path": home / "export",
            "nfs_mount_point_base": home / "cinder-mounts",
            "nas_secure_file_operations": "false",
            "nas_secure_file_permissions": "false",
        },
        "cinder_sys_admin": _HELPER,
        "privsep_osbrick": _HELPER,
    }
