# SPDX-License-Identifier: Apache-2.0
"""A reattach that fails after Cinder has connected the volume ends no connection that a running guest may use."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from dedangle.core.decisions import Disposition, Finding, Outcome, Remedy, Result, Verdict
from dedangle.core.records import Attachment, BlockDeviceMapping, Reading, Server, Volume
from dedangle.reconcile.repairs import Repairs

HOST = "host-1"
NEW = Attachment(id="new", server_id="s", volume_id="v", status="reserved")
MAPPING = BlockDeviceMapping(
    id=1, uuid="b", cell="cell1", server_id="s", volume_id="v", attachment_id="lost", has_connection_info=True
)
RUNS = Server(id="s", cell="cell1", project_id="p", host=HOST, vm_state="active", power_state=1)
STOPPED = dataclasses.replace(RUNS, vm_state="stopped", power_state=4)
CHANGED = Outcome(result=Result.CHANGED_MEANWHILE, detail="the mapping is not as it was")


def data(lun: int | None) -> dict[str, Any]:
    return {"target_iqn": "iqn.2010-10.org:v", "target_lun": lun} if lun is not None else {}


@dataclasses.dataclass
class FakeNova:
    lun: int | None
    named: Outcome = CHANGED
    access_mode: str = "rw"

    def connection_info(self, _: BlockDeviceMapping) -> Reading[dict[str, Any]]:
        mode = {"access_mode": self.access_mode}
        return Reading(({"driver_volume_type": "iscsi", "data": {**data(self.lun), **mode}},))

    def name_attachment(self, *_: Any) -> Outcome:
        return self.named


@dataclasses.dataclass
class FakeCinder:
    lun: int = 1
    completes: bool = True
    deleted: list[str] = dataclasses.field(default_factory=list)
    connectors: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def create_attachment(self, *_: str) -> Reading[Attachment]:
        return Reading((NEW,))

    def connect_attachment(self, _: str, connector: dict[str, Any]) -> Reading[dict[str, Any]]:
        self.connectors.append(connector)
        return Reading(({"connection_info": {"driver_volume_type": "iscsi", **data(self.lun)}},))

    def complete_attachment(self, _: str) -> Reading[Any]:
        return Reading() if self.completes else Reading.unread("Cinder answered 500")

    def attachment(self, _: str) -> Reading[Attachment]:
        return Reading((NEW,))

    def delete_attachment(self, expected: Attachment) -> Outcome:
        self.deleted.append(expected.id)
        return Outcome(result=Result.REMOVED)


def deleted(server: Server, nova: FakeNova, cinder: FakeCinder) -> list[str]:
    finding = Finding(
        code="attachment-lost-in-use",
        verdict=Verdict.MISMATCH,
        remedy=Remedy.RESTORE_ATTACHMENT,
        disposition=Disposition.RESTORE,
        server_id="s",
        volume_id="v",
        mapping=MAPPING,
    )
    repairs = Repairs(nova=nova, cinder=cinder, hosts=None, connector={"host": HOST})  # type: ignore[arg-type]
    outcome = repairs.carry_out(finding, server, Volume(id="v", status="available"))
    assert not outcome.result.is_done
    assert bool(cinder.deleted) is not ("attachment new stays" in outcome.detail)
    return cinder.deleted


@pytest.mark.parametrize("cinder", [FakeCinder(), FakeCinder(completes=False)], ids=["row changed", "not completed"])
@pytest.mark.parametrize("lun", [1, None], ids=["same address", "unknown address"])
def test_a_connection_that_the_guest_may_use_stays(lun: int | None, cinder: FakeCinder) -> None:
    assert deleted(RUNS, FakeNova(lun), dataclasses.replace(cinder, deleted=[])) == []


def test_a_connection_that_no_guest_uses_is_ended() -> None:
    assert deleted(RUNS, FakeNova(2), FakeCinder()) == ["new"]
    assert deleted(STOPPED, FakeNova(1), FakeCinder()) == ["new"]


@pytest.mark.parametrize(("access_mode", "mode"), [("rw", None), ("ro", "ro")])
def test_a_disk_that_is_read_only_stays_so(access_mode: str, mode: str | None) -> None:
    cinder = FakeCinder()
    deleted(STOPPED, FakeNova(1, access_mode=access_mode), cinder)
    assert [each.get("mode") for each in cinder.connectors] == [mode]
