# SPDX-License-Identifier: Apache-2.0
"""Which hosts Nova's compute services name: of these alone an attachment's host can be compared with the server's."""

from __future__ import annotations

from pathlib import Path

from nova_cells_on_disk import cell, nova

from dedangle.systems.nova import schema


def test_the_hosts_of_live_and_deleted_compute_services_of_every_cell_are_read_once(tmp_path: Path) -> None:
    (one, rows), (two, others) = (cell(tmp_path, name) for name in ("cell1", "cell2"))
    rows.add(schema.services, host="compute-1", binary="nova-compute")
    rows.add(schema.services, host="left", binary="nova-compute", deleted=3)
    rows.add(schema.services, host="controller", binary="nova-conductor")
    others.add(schema.services, host="compute-2", binary="nova-compute")
    database = nova(one, two)
    assert sorted(database.compute_hosts().rows) == ["compute-1", "compute-2", "left"]
    rows.add(schema.services, host="compute-3", binary="nova-compute")
    assert "compute-3" not in database.compute_hosts().rows


def test_a_silent_cell_makes_every_host_comparable_until_it_answers(tmp_path: Path) -> None:
    (one, rows), (two, others) = (cell(tmp_path, name) for name in ("cell1", "cell2"))
    others.add(schema.services, host="compute-2", binary="nova-compute")
    schema.services.drop(rows.engine)
    database = nova(one, two)
    assert not database.compute_hosts().complete
    schema.services.create(rows.engine)
    assert database.compute_hosts().rows == ("compute-2",)
