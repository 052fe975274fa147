# SPDX-License-Identifier: Apache-2.0
"""The fleet asked over a real message bus: a host that tells all, one that is silent, and one without the endpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dedangle.lab import rows
from dedangle.lab.breakers import Breaker
from dedangle.lab.builders import Builder
from dedangle.lab.cloud import MANAGER, Cloud
from dedangle.lab.config import COMPUTE_HOST
from shell import Dedangle, Done

NOVA_MANAGER = "nova.compute.manager.ComputeManager"
STOCK, SILENT = "lab-compute-2", "lab-compute-3"
DISK = """
<disk type='block' device='disk'>
 <source dev='/dev/of-{volume}'/><target dev='{target}' bus='virtio'/><serial>{volume}</serial>
</disk>"""
METADATA = "<metadata><nova:instance xmlns:nova='http://openstack.org/xmlns/libvirt/nova/1.1'/></metadata>"
DOMAIN = "<domain type='kvm'>{metadata}<devices>{disks}</devices></domain>"
FOREIGN = "99999999-9999-4999-8999-999999999999"


class Guests:
    """The guests of the honest host, as its libvirt has them."""

    def __init__(self, directory: Path, cloud: Cloud) -> None:
        self._directory = directory
        self._cloud = cloud

    def have(self, server: str, *volumes: str, is_novas: bool = True) -> None:
        """Let the server's guest run with the volumes, each connected by the path that its mapping has."""
        self._write(self._directory, server, volumes, METADATA if is_novas else "")
        for volume in volumes:
            self.connect(volume, f"/dev/of-{volume}")

    def have_later(self, server: str, *volumes: str) -> None:
        """Let it have the volumes once the host is asked for the guest of one server."""
        (self._directory / "later").mkdir(exist_ok=True)
        self._write(self._directory / "later", server, volumes, METADATA)

    def connect(self, volume: str, path: str) -> None:
        """Let the mapping of a volume connect to a device."""
        info = {"driver_volume_type": "iscsi", "data": {"device_path": path}}
        with self._cloud.home.connect("nova_cell1") as nova:
            update = "UPDATE block_device_mapping SET connection_info = :info WHERE volume_id = :volume"
            nova.execute(sa.text(update), {"info": json.dumps(info), "volume": volume})
        rows.settle(self._cloud.home)

    def _write(self, directory: Path, server: str, volumes: Sequence[str], metadata: str) -> None:
        disks = "".join(DISK.format(volume=volume, target=f"vd{'abcdefgh'[at]}") for at, volume in enumerate(volumes))
        (directory / f"{server}.xml").write_text(DOMAIN.format(metadata=metadata, disks=disks))

    def asked(self) -> list[str]:
        """Return what the host was asked since the last time."""
        file = self._directory / "asked"
        questions = file.read_text().split() if file.exists() else []
        file.unlink(missing_ok=True)
        return questions


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("domains")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, directory: Path, mariadb: None) -> Iterator[Cloud]:
    overrides = {"dedangle": {"cell_timeout": 20, "reboot_budget": 60}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        patch.setenv("DOMAINS_OF_TESTS", str(directory))
        home = tmp_path_factory.mktemp("hosts")
        with Cloud(home, database="mariadb", manager="domains.Manager", nova_overrides=overrides) as cloud:
            # Another project's server, which the credentials must see.
            Builder(cloud, "p2").server("control", 1)
            yield cloud


@pytest.fixture
def guests(cloud: Cloud, directory: Path) -> Guests:
    for each in directory.glob("*.xml"):
        each.unlink()
    found = Guests(directory, cloud)
    found.asked()
    return found


def add_hosts(cloud: Cloud) -> None:
    """Add a host that runs Nova's own manager, and one whose process has ended."""
    cloud.manager = NOVA_MANAGER
    cloud.add_host(STOCK)
    cloud.manager = MANAGER
    cloud.add_host(SILENT)
    cloud.stop(SILENT)


def audit(cloud: Cloud, *options: str) -> tuple[Done, dict[str, Any]]:
    """Return what `audit --hosts` came to, and its document."""
    report = cloud.home.path / "report.json"
    done = Dedangle(cloud)("audit", "--hosts", "--report", str(report), *options)
    document: dict[str, Any] = json.loads(report.read_text())
    return done, document


def told(document: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(each["code"], each["server_id"], each["volume_id"]) for each in document["findings"]]


def test_suspects_are_judged_by_one_answer_and_removals_ask_anew(cloud: Cloud, guests: Guests) -> None:
    builder = Builder(cloud)
    using, lacking = builder.server("using", 2), builder.server("lacking", 2)
    guests.have(using.id, *using.volumes)
    guests.have(lacking.id, *lacking.volumes)
    Breaker(builder).lose_attachment(using.id, using.volumes[1])
    unknown = builder.volume()
    Breaker(builder).attach_unknown(lacking.id, unknown, COMPUTE_HOST)
    guests.asked()

    done, document = audit(cloud)

    assert done.code == 0, done.err
    assert document["complete"]
    assert told(document) == [
        ("attachment-lost-in-use", using.id, using.volumes[1]),
        ("attachment-unknown-to-nova", lacking.id, unknown),
    ]
    side = {"host": COMPUTE_HOST, "domain": "running", "target": "vdb", "source_kind": "block", "wwn": ""}
    assert document["findings"][0]["host_side"] == [{**side, "source": f"/dev/of-{using.volumes[1]}"}]
    assert document["findings"][1]["host_side"] == []
    assert document["findings"][1]["disposition"] == "remove"
    # For the disks of all guests, and for the connections that none of them uses; nothing was asked for one server.
    assert guests.asked() == ["all"] * 2

    done = Dedangle(cloud)("sweep", "--hosts", "--execute", "--yes", "-f", "json")
    questions = guests.asked()

    outcomes = {each["volume_id"]: each["outcome"] for each in done.findings}
    assert outcomes == {using.volumes[1]: None, unknown: "removed"}, done
    assert questions[:2] == ["all"] * 2
    assert questions.count(lacking.id) >= 1
    assert using.id not in questions


def test_a_guest_that_gets_the_disk_after_the_answer_for_all_keeps_it(cloud: Cloud, guests: Guests) -> None:
    builder = Builder(cloud)
    server, volume = builder.server("late", 1), builder.volume()
    guests.have(server.id, *server.volumes)
    attachment = Breaker(builder).attach_unknown(server.id, volume, COMPUTE_HOST)
    guests.have_later(server.id, *server.volumes, volume)

    done = Dedangle(cloud)("sweep", "--hosts", "--execute", "--yes", "-f", "json")

    (found,) = [each for each in done.findings if each["volume_id"] == volume]
    assert (found["code"], found["outcome"]) == ("attachment-unknown-to-nova", "changed-meanwhile")
    assert server.id in guests.asked()
    assert attachment in [each["id"] for each in rows.snapshot(cloud.home).attachments_of(server.id)]


def test_what_only_the_host_shows(cloud: Cloud, guests: Guests) -> None:
    builder = Builder(cloud)
    ghost, gone, moved = builder.server("ghost", 1), builder.server("gone", 1), builder.server("moved", 2)
    volume = builder.volume(name="data")
    guests.have(ghost.id, *ghost.volumes, volume)
    guests.have(gone.id, *gone.volumes)
    guests.have(moved.id, *moved.volumes)
    guests.have(FOREIGN, is_novas=False)
    guests.connect(moved.volumes[1], "/dev/elsewhere")
    builder.delete(gone.id)

    done, document = audit(cloud, "--server", ghost.id, "--server", gone.id, "--server", moved.id)

    assert done.code == 0, done.err
    found = {each["server_id"]: each for each in document["findings"] if each["volume_id"] != gone.volumes[0]}
    assert {(each["code"], each["volume_id"]) for each in found.values()} == {
        ("disk-without-mapping", volume),
        ("disk-without-mapping", gone.volumes[1]),
        ("disk-source-differs", moved.volumes[1]),
    }
    assert found[ghost.id]["reason"].startswith("URGENT: ")
    assert (found[ghost.id]["server_name"], found[ghost.id]["volume_name"]) == ("ghost", "data")
    assert found[ghost.id]["next"] == [f"openstack server reboot --hard --wait {ghost.id}"]
    assert found[gone.id]["next"][0] == f"ssh {COMPUTE_HOST} virsh -c qemu:///system destroy {gone.id}"
    assert (
        f"/dev/of-{moved.volumes[1]}, but Nova's mapping connects the volume to /dev/elsewhere"
        in (found[moved.id]["reason"])
    )
    assert not found[moved.id]["reason"].startswith("URGENT: ")
    assert {each["host_side"][0]["host"] for each in found.values()} == {COMPUTE_HOST}


def test_nothing_is_concluded_from_a_host_that_is_silent_or_has_no_endpoint(
    cloud: Cloud, guests: Guests, impatient: tuple[str, str]
) -> None:
    builder = Builder(cloud)
    server, volume = builder.server("fleet", 1), builder.volume()
    guests.have(server.id, *server.volumes, volume)
    # After the servers: Nova would put one of them on the host that is silent.
    add_hosts(cloud)
    before = rows.snapshot(cloud.home)

    done, document = audit(cloud, *impatient)

    assert done.code == 5
    assert document["complete"] is False
    assert document["not_checked"] == [
        f"the guests of host {STOCK}: host {STOCK} does not run dedangle (UnsupportedVersion)",
        f"the guests of host {SILENT}: host {SILENT} did not answer in 8 s",
    ]
    assert ("disk-without-mapping", server.id, volume) in told(document)
    assert {each["host"] for each in document["findings"]} == {COMPUTE_HOST}
    assert rows.diff(before, rows.snapshot(cloud.home)) == []
