# SPDX-License-Identifier: Apache-2.0
"""With available_with_attachment = remove a volume that is `available` is gone, as the blueprint's letter has it."""

import json
from collections.abc import Iterator

import pytest

from cases.stage import Stage
from dedangle.lab import rows
from dedangle.lab.cloud import Cloud
from shell import Dedangle


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
    rows.settle(literal.home)
    before = rows.snapshot(literal.home)
    stage.user.reboot(server.id, "HARD")
    once = rows.snapshot(literal.home)
    gone = [change.after for change in rows.diff(before, once) if change.table == "mappings"]
    # The root disk, whose volume is available too, is protected.
    assert [server.volumes[1]] == [row["volume_id"] for row in gone if row and row["deleted"]]
    stage.user.reboot(server.id, "HARD")
    assert not rows.diff(once, rows.snapshot(literal.home))


def test_what_the_letter_removed_by_mistake_comes_back_with_its_own_attachment(literal: Cloud) -> None:
    stage, dedangle = Stage(literal), Dedangle(literal)
    server = stage.server(1)
    volume = server.volumes[1]
    literal.admin.cinder("POST", f"/volumes/{volume}/action", {"os-reset_status": {"status": "available"}}, expect=202)
    rows.settle(literal.home)
    before = rows.snapshot(literal.home)
    stage.user.reboot(server.id, "HARD")
    (entry,) = json.loads(dedangle("journal", "list", "--volume", volume, "-f", "json").out)
    done = dedangle("undo", entry["entry"], "--execute", "--yes", "-f", "json")
    assert json.loads(done.out)["outcome"] == "restored", done.err
    assert not rows.diff(before, rows.snapshot(literal.home))
