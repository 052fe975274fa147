# SPDX-License-Identifier: Apache-2.0
"""Which mappings of other servers are the witnesses for or against Cinder, and which attachments Nova knows."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from nova_cells_on_disk import Rows, cell, nova

from dedangle.core.records import Attachment, BlockDeviceMapping
from dedangle.systems.nova import links as nova_links
from dedangle.systems.nova import schema


def mapping(number: int, cell_name: str = "cell1") -> BlockDeviceMapping:
    names = {"uuid": f"b{number}", "volume_id": f"v{number}", "attachment_id": f"a{number}"}
    return BlockDeviceMapping(id=number, cell=cell_name, server_id="own", has_connection_info=True, **names)


def attachment(number: int, volume: str | None = None) -> Attachment:
    return Attachment(id=f"a{number}", server_id="s", volume_id=volume or f"v{number}", status="attached")


def fill(rows: Rows, count: int) -> None:
    """A server with a mapping for each number, and one of every kind that is no witness between them."""
    rows.server("own")
    for name, values in {
        "building": {"vm_state": "building"},
        "half-deleted": {"vm_state": "deleted"},
        "deleting": {"task_state": "deleting"},
        "gone": {"deleted": 9},
    }.items():
        rows.server(name, **values)
    for number in range(10, count * 10 + 1, 10):
        rows.server(f"s{number}", vm_state="stopped", task_state="powering-on" if number == 50 else None)
        rows.mapping(number, f"s{number}")
        for step, server in enumerate(("own", "building", "half-deleted", "deleting", "gone", "never was"), 1):
            rows.mapping(number + step, server)
        rows.mapping(number + 7, f"s{number}", deleted=number)
        rows.mapping(number + 8, f"s{number}", attachment_id=None)
        rows.mapping(number + 9, f"s{number}", destination_type="local")


def test_the_neighbours_of_a_mapping_are_those_made_right_before_and_after_it(tmp_path: Path) -> None:
    one, rows = cell(tmp_path, "cell1")
    fill(rows, 12)
    links = nova(one).links("own", [mapping(61)]).rows
    # None is active, so that the youngest of many projects are none.
    assert sorted(each.number for each in links) == [30, 40, 50, 60, 70, 80, 90, 100]
    assert {(each.server_id, each.attachment_id, each.cell) for each in links if each.number == 30} == {
        ("s30", "a30", "cell1")
    }


def test_no_link_comes_twice_and_the_youngest_come_too(tmp_path: Path) -> None:
    one, rows = cell(tmp_path, "cell1")
    fill(rows, 12)
    for number in (300, 310):
        rows.server(f"s{number}")
        rows.mapping(number, f"s{number}")
    reading = nova(one).links("own", [mapping(110), mapping(121), mapping(305)])
    assert reading.complete
    numbers = [each.number for each in reading.rows]
    assert sorted(numbers) == [70, 80, 90, 100, 110, 120, 300, 310]
    assert {each.number for each in nova(one).links("own").rows} == {300, 310}


def test_a_mapping_has_its_neighbours_in_its_own_cell(tmp_path: Path) -> None:
    one, rows = cell(tmp_path, "cell1")
    two, others = cell(tmp_path, "cell2")
    fill(rows, 4)
    fill(others, 4)
    links = nova(one, two).links("own", [mapping(21, "cell2")]).rows
    assert {each.cell for each in links} == {"cell2"}
    database = nova(one, two)
    database.leave_out("cell2", "Nova's cell2 is silent")
    assert database.links("own", [mapping(21, "cell2")]).why == "Nova's cell2 is silent"


def test_neighbours_are_not_looked_for_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nova_links, "NEAR", 20)
    one, rows = cell(tmp_path, "cell1")
    fill(rows, 12)
    assert sorted(each.number for each in nova(one).links("own", [mapping(65)]).rows) == [50, 60, 70, 80]


def test_attachments_that_any_mapping_names_are_known(tmp_path: Path) -> None:
    one, rows = cell(tmp_path, "cell1")
    two, others = cell(tmp_path, "cell2")
    rows.mapping(1, "s")
    rows.mapping(2, "s", deleted=2)
    others.mapping(3, "s")
    others.mapping(4, "s", schema.shadow_block_device_mapping, deleted=4)
    others.mapping(5, "s", attachment_id=None)
    database = nova(one, two)
    asked = [attachment(number) for number in range(1, 8)]
    assert sorted(database.knows(asked).rows) == ["a1", "a2", "a3", "a4"]
    # The volume is what the index is on: a mapping of another volume with that attachment is not looked for.
    assert database.knows([attachment(1, "another")]).rows == ()
    assert database.knows([]).absent
    database.leave_out("cell2", "Nova's cell2 is silent")
    assert not database.knows(asked).complete
    assert sorted(database.knows(asked).rows) == ["a1", "a2"]


def test_archived_rows_are_read_only_for_what_no_other_row_explains(tmp_path: Path) -> None:
    one, rows = cell(tmp_path, "cell1")
    rows.mapping(1, "s")
    statements: list[str] = []
    sa.event.listen(rows.engine, "before_cursor_execute", lambda *args: statements.append(str(args[2])))
    nova(one).knows([attachment(1)])
    assert not [each for each in statements if "shadow" in each]
    nova(one).knows([attachment(1), attachment(2)])
    assert len([each for each in statements if "shadow" in each]) == 1


def test_many_attachments_take_several_statements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nova_links, "_CHUNK", 2)
    one, rows = cell(tmp_path, "cell1")
    for number in range(1, 8):
        rows.mapping(number, "s")
    assert len(nova(one).knows([attachment(number) for number in range(1, 8)]).rows) == 7


def test_archived_mappings_that_name_an_attachment_are_read_with_their_server(tmp_path: Path) -> None:
    one, rows = cell(tmp_path, "cell1")
    rows.mapping(1, "own", deleted=1)
    rows.mapping(2, "own", schema.shadow_block_device_mapping, deleted=2)
    rows.mapping(3, "another", schema.shadow_block_device_mapping, deleted=3)
    rows.mapping(4, "own", schema.shadow_block_device_mapping, deleted=4)
    # The column allows NULL, for which there is no server to judge.
    rows.mapping(5, "own", schema.shadow_block_device_mapping, deleted=5, instance_uuid=None)
    found = nova(one).archived_bdms([attachment(each) for each in (1, 2, 3, 5)]).rows
    assert {(each.server_id, each.attachment_id, each.volume_id, each.deleted) for each in found} == {
        ("own", "a2", "v2", True),
        ("another", "a3", "v3", True),
    }
