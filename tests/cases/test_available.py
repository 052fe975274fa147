# SPDX-License-Identifier: Apache-2.0
"""With available_with_attachment = remove a volume that is `available` is gone, as the blueprint's letter has it."""

from collections.abc import Iterator

import pytest

from cases.stage import Stage
from dedangle.lab import rows
from dedangle.lab.cloud import Cloud


@pytest.fixture(scope="module")
def literal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    overrides = {"dedangle": {"grace_period": "0", "available_with_attachment": "remove"}}
    with Cloud(tmp_path_factory.mktemp("literal"), nova_overrides=overrides) as cloud:
        yield cloud


def test_a_hard_reboot_removes_the_mapping_of_an_available_volume_and_no_other(literal: Cloud) -> None:
    stage = Stage(literal)
    server = stage.server(2)
    reset = {"os-reset_status": {"status": "available"}}
    for volume in server.volumes[:2]:
        literal.admin.cinder("POST", f"/volumes/{volume}/action", reset, expect=202)
    before = rows.snapshot(literal.home)
    stage.user.reboot(server.id, "HARD")
    once = rows.snapshot(literal.home)
    gone = [change.after for change in rows.diff(before, once) if change.table == "mappings"]
    # The root disk, whose volume is available too, is protected.
    assert [server.volumes[1]] == [row["volume_id"] for row in gone if row and row["deleted"]]
    stage.user.reboot(server.id, "HARD")
    assert not rows.diff(once, rows.snapshot(literal.home))
