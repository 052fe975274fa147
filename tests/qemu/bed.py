# SPDX-License-Identifier: Apache-2.0
"""What the labs of these tests stand on: a libvirt, a guest, and back ends for volumes."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from ceph import POOL, USER, Cluster
from hypervisor import Hypervisor
from storage import run

from dedangle.lab.cloud import Cloud

HERE = Path(__file__).parent
# Root needs no sudo to be root.
_HELPER = {"helper_command": str(Path(sys.executable).with_name("privsep-helper"))}

Sections = Mapping[str, Mapping[str, object]]


@dataclass(frozen=True)
class Bed:
    """A libvirt and the back ends for volumes of one machine; labs may use them one after the other."""

    home: Path
    hypervisor: Hypervisor
    ceph: Cluster | str
    """The cluster, or why there is none."""

    @property
    def types(self) -> list[str]:
        """The volume types, each with a back end of its own."""
        return ["loop", "nfs", *(["rbd"] if isinstance(self.ceph, Cluster) else [])]

    @contextmanager
    def lab(self, name: str, *, database: str = "sqlite", nova: Sections | None = None) -> Iterator[Cloud]:
        """Run a lab whose nova-compute drives the libvirt, with options in nova.conf beside those of the bed."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", f"{self.home / 'python'}{os.pathsep}{HERE}")
            patch.setenv("PATH", str(HERE / "bin"), prepend=os.pathsep)
            own, more = self._nova(name), nova or {}
            overrides = {group: {**own.get(group, {}), **more.get(group, {})} for group in {**own, **more}}
            with Cloud(
                self.home / name,
                database=database,
                nova_overrides=overrides,
                cinder_overrides=self._cinder(),
                progress=print,
            ) as cloud:
                for each in self.types:
                    kind = {"name": each, "extra_specs": {"volume_backend_name": each}}
                    cloud.admin.cinder("POST", "/types", {"volume_type": kind}, expect=200)
                yield cloud

    def _nova(self, lab: str) -> dict[str, Mapping[str, object]]:
        return {
            "DEFAULT": {
                "compute_driver": "libvirt.LibvirtDriver",
                "instances_path": self.home / "instances",
                # A domain's log goes by its name, and two labs number their servers alike.
                "instance_name_template": f"{lab}-%08x",
            },
            "libvirt": {
                "connection_uri": self.hypervisor.uri,
                "virt_type": "qemu",
                "cpu_mode": "none",
                # Not every file system in memory knows direct I/O.
                "disk_cachemodes": "file=writeback,block=writeback",
                "nfs_mount_point_base": self.home / "mounts",
            },
            "vnc": {"enabled": "false"},
            "nova_sys_admin": _HELPER,
            "privsep_osbrick": _HELPER,
        }

    def _cinder(self) -> dict[str, Mapping[str, object]]:
        sections: dict[str, Mapping[str, object]] = {
            "DEFAULT": {"enabled_backends": ",".join(self.types), "default_volume_type": "loop"},
            "loop": {
                "volume_driver": "loop_driver.LoopDriver",
                "volume_backend_name": "loop",
                "loop_directory": self.home / "loops",
                "loop_boot_sector": self.home / "guest",
            },
            "nfs": {
                "volume_driver": "cinder.volume.drivers.nfs.NfsDriver",
                "volume_backend_name": "nfs",
                "nas_host": "127.0.0.1",
                "nas_share_path": self.home / "export",
                "nfs_mount_point_base": self.home / "cinder-mounts",
                "nas_secure_file_operations": "false",
                "nas_secure_file_permissions": "false",
            },
            "cinder_sys_admin": _HELPER,
            "privsep_osbrick": _HELPER,
        }
        if isinstance(self.ceph, Cluster):
            sections["rbd"] = {
                "volume_driver": "rbd_driver.RBDDriver",
                "volume_backend_name": "rbd",
                "rbd_pool": POOL,
                "rbd_user": USER,
                "rbd_ceph_conf": self.ceph.conf,
                "rbd_secret_uuid": self.ceph.fsid,
            }
        return sections


def make_guest(image: Path) -> None:
    """Assemble the guest's boot sector."""
    code = image.with_suffix(".o")
    run("as", "--32", "-o", str(code), str(HERE / "guest.s"))
    run("ld", "-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary", "-o", str(image), str(code))


def install_libvirt_python(to: Path) -> None:
    """Install libvirt's Python bindings, which must fit the machine's libvirt; only nova-compute here needs them."""
    uv = str(Path(sys.executable).with_name("uv"))
    constraints = HERE.parents[1] / "requirements" / "lab.txt"
    where = ["--python", sys.executable, "--target", str(to)]
    run(uv, "pip", "install", "--quiet", "--constraint", str(constraints), *where, "libvirt-python")
