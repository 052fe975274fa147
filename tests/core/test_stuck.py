# SPDX-License-Identifier: Apache-2.0
"""A volume that is not available although neither side has a row for it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from worlds import LONG_AGO, NOW, attachment, mapping, policy, tombstone, volume

from dedangle.core import stuck
from dedangle.core.decisions import Door, Finding
from dedangle.core.records import Reading, Refusal
from dedangle.core.stuck import VolumeObservation


def seen(status: str = "detaching", **fields: Any) -> VolumeObservation:
    given = {"updated_at": LONG_AGO, **fields}
    return VolumeObservation(
        volume=Reading((volume(status, **given),)), attachments=Reading(), bdms=Reading((tombstone("A"),))
    )


def judged(observed: VolumeObservation, door: Door = Door.COMMAND) -> Finding | Refusal | None:
    return stuck.judge(observed, now=NOW, policy=policy(door))


@pytest.mark.parametrize("status", ["in-use", *stuck.STUCK])
def test_a_volume_without_any_row_is_reset_by_the_command_alone(status: str) -> None:
    by_command, by_sweep = (judged(seen(status), door) for door in (Door.COMMAND, Door.SWEEP))
    assert isinstance(by_command, Finding)
    assert isinstance(by_sweep, Finding)
    assert (by_command.disposition.value, by_sweep.disposition.value) == ("restore", "report")
    assert by_command.next == by_sweep.next == ("dedangle cleanup --volume volume-1 --execute",)
    assert by_command.key == by_sweep.key


@pytest.mark.parametrize("status", ["available", "error", "creating", "backing-up", "retyping", "awaiting-transfer"])
def test_other_statuses_are_left_alone(status: str) -> None:
    assert judged(seen(status)) is None


def test_rows_other_owners_and_work_explain_a_volume() -> None:
    base = seen()
    rows = VolumeObservation(volume=base.volume, attachments=Reading((attachment("A"),)), bdms=base.bdms)
    mapped = VolumeObservation(volume=base.volume, attachments=Reading(), bdms=Reading((mapping("A"),)))
    assert judged(rows) is judged(mapped) is None
    assert judged(seen(consumer="glance")) is judged(seen(migration_status="migrating")) is None


def test_what_is_young_waits_and_what_is_not_read_is_not_told() -> None:
    young = judged(seen(updated_at=NOW - timedelta(minutes=10)))
    assert isinstance(young, Finding)
    assert young.disposition.value == "wait"
    base = seen()
    for field in ("volume", "attachments", "bdms"):
        readings = {"volume": base.volume, "attachments": base.attachments, "bdms": base.bdms}
        observed = VolumeObservation(**{**readings, field: Reading.unread("silent")})  # type: ignore[arg-type]
        assert judged(observed) == Refusal("silent")
