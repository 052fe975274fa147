# SPDX-License-Identifier: Apache-2.0
"""The order of the writes, and the fuse."""

from __future__ import annotations

import dataclasses
import math

import pytest
from worlds import (
    SECOND_VOLUME,
    World,
    attachment,
    deleted,
    findings,
    mapping,
    never_attached,
    removals,
    server,
    volume,
)

from dedangle.core import planning
from dedangle.core.decisions import Disposition, Finding

LIMITS = planning.Limits(max_removals=25, max_removals_percent=2)


def one(**changes: object) -> Finding:
    (finding,) = removals(World(servers=(server(),), mappings=(never_attached(),), volumes=(volume("available"),)))
    return dataclasses.replace(finding, **changes)  # type: ignore[arg-type]


def many(count: int, **changes: object) -> list[Finding]:
    return [one(**{"cell": None, "project_id": None, **changes})] * count


def test_mappings_are_removed_before_the_attachments_of_the_same_server() -> None:
    world = World(
        servers=(deleted(),),
        mappings=(mapping("A", SECOND_VOLUME), mapping("B")),
        attachments=(attachment("A", volume=SECOND_VOLUME), attachment("B")),
        volumes=(volume(), volume(ident=SECOND_VOLUME)),
    )
    expected = ["remove-mapping", "remove-mapping", "remove-attachment", "remove-attachment"]
    plan = removals(world)
    assert expected == [each.remedy for each in plan]
    assert plan == planning.changes(reversed(findings(world)))


def test_one_server_is_finished_before_the_next_begins() -> None:
    reserved = World(servers=(server(),), attachments=(attachment("B", "reserved"),), volumes=(volume("reserved"),))
    (of_first,) = removals(reserved)
    of_second = one(server_id="server-2")
    expected = (of_first, of_second)
    assert expected == planning.changes([of_second, of_first])


@pytest.mark.parametrize("disposition", [Disposition.REPORT, Disposition.WAIT, Disposition.PROTECT])
def test_what_is_to_be_kept_is_not_planned(disposition: Disposition) -> None:
    assert not planning.changes([one(disposition=disposition)])


def test_nothing_planned_is_never_refused() -> None:
    none_at_all = planning.Limits(max_removals=0, max_removals_percent=0)
    assert not planning.refusal([], none_at_all, {planning.RUN: 5000})


@pytest.mark.parametrize(("count", "refused"), [(25, False), (26, True)])
def test_the_run_is_refused_above_max_removals(count: int, refused: bool) -> None:
    spread = [one(cell=f"cell{number}", project_id=f"project-{number}") for number in range(count)]
    assert refused == ("in this run" in str(planning.refusal(spread, LIMITS, {})))


def test_what_is_due_elsewhere_counts_in_the_run() -> None:
    limits = planning.Limits(max_removals=25, max_removals_percent=2, unjudged_removals=6)
    spread = [one(cell=f"cell{number}", project_id=f"project-{number}") for number in range(20)]
    assert not planning.refusal(spread[:19], limits, {})
    refusal = str(planning.refusal(spread, limits, {}))
    assert "26 removals planned in this run (6 of them on servers that this run had no time to check)" in refusal
    assert planning.removals_left(spread[:16], limits, {}) == 3
    assert not planning.refusal([], planning.Limits(max_removals=25, max_removals_percent=2, unjudged_removals=26), {})


@pytest.mark.parametrize("where", ["cell", "project_id"])
def test_no_cell_and_no_project_holds_more_removals_than_the_run_may(where: str) -> None:
    limits = planning.Limits(max_removals=3, max_removals_percent=100)
    spread = [one(**{"cell": "c", "project_id": "p", where: f"x{number}"}) for number in range(4)]
    assert "4 removals" in str(planning.refusal(spread, limits, {}))
    assert not planning.refusal(spread[:3], limits, {})


def test_one_project_over_its_limit_is_left_out() -> None:
    limits = planning.Limits(max_removals=3, max_removals_percent=100)
    one_tenants = many(4, project_id="a") + many(3, project_id="b")
    found = planning.project_to_leave_out(one_tenants, limits, {})
    assert found is not None
    project_id, why = found
    assert project_id == "a"
    assert "4 removals planned in project a exceed max_removals (3)" in str(why)


def test_two_projects_over_their_limits_stop_the_run() -> None:
    limits = planning.Limits(max_removals=3, max_removals_percent=100)
    systemic = many(4, project_id="a") + many(4, project_id="b")
    assert planning.project_to_leave_out(systemic, limits, {}) is None
    assert planning.refusal(systemic, limits, {})


@pytest.mark.parametrize(
    ("count", "total", "refused"),
    [(21, 999, False), (20, 1000, False), (21, 1000, True), (21, 1050, False), (25, 1249, True), (25, 1250, False)],
)
def test_the_percentage_counts_from_a_thousand_attachments(count: int, total: int, refused: bool) -> None:
    assert refused == bool(planning.refusal(many(count), LIMITS, {planning.RUN: total}))


@pytest.mark.parametrize(
    ("scope", "changes"),
    [(("cell", "cell1"), {"cell": "cell1"}), (("project", "project-1"), {"project_id": "project-1"})],
)
def test_the_percentage_holds_in_each_cell_and_project(scope: planning.Scope, changes: dict[str, str]) -> None:
    totals = {planning.RUN: 100_000, scope: 1000}
    assert not planning.refusal(many(20, **changes), LIMITS, totals)
    refusal = str(planning.refusal(many(21, **changes), LIMITS, totals))
    assert f"in {scope[0]} {scope[1]}" in refusal
    assert "21 removals" in refusal


@pytest.mark.parametrize("limits", [LIMITS, planning.Limits(max_removals=7, max_removals_percent=0.3)])
@pytest.mark.parametrize("count", [1, 7, 20, 25, 26])
def test_more_than_enough_attachments_make_no_difference(limits: planning.Limits, count: int) -> None:
    enough = math.ceil(planning.enough(limits))
    for scope in (planning.RUN, ("project", "project-1")):
        few, many_more = ({planning.RUN: 10**9, scope: total} for total in (enough, 10**9))
        planned = many(count, project_id="project-1")
        assert bool(planning.refusal(planned, limits, few)) == bool(planning.refusal(planned, limits, many_more))
        assert planning.removals_left(planned, limits, few) == planning.removals_left(planned, limits, many_more)


def test_of_a_percentage_of_nothing_there_is_never_enough() -> None:
    assert planning.enough(planning.Limits(max_removals=25, max_removals_percent=0)) == math.inf


def test_what_has_neither_cell_nor_project_counts_in_scopes_of_its_own() -> None:
    expected = (planning.RUN, ("cell", "none"), ("project", "none"))
    assert expected == planning.scopes(None, None)


def test_a_percentage_of_nothing_refuses_every_removal_in_a_large_cloud() -> None:
    strict = planning.Limits(max_removals=25, max_removals_percent=0)
    assert planning.refusal(many(1), strict, {planning.RUN: 1000})
    assert not planning.refusal(many(1), strict, {planning.RUN: 999})
