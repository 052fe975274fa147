# SPDX-License-Identifier: Apache-2.0
"""What a run remembers for the next."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from dedangle.core.decisions import Disposition, Finding, FindingKey, Remedy, Verdict
from dedangle.state.sightings import Sightings

NOW = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
NOBODY = FindingKey("attachment-never-used", "N", "V", None, None, None)


def finding(server_id: str, first_seen: datetime = NOW) -> Finding:
    return Finding(
        code="attachment-never-used",
        verdict=Verdict.DANGLING,
        remedy=Remedy.REMOVE_ATTACHMENT,
        disposition=Disposition.WAIT,
        server_id=server_id,
        volume_id="V",
        first_seen=first_seen,
    )


def remember(
    state_dir: Path, *findings: Finding, tried: Collection[str] = (), known: Collection[str] = (), now: datetime = NOW
) -> None:
    Sightings(state_dir).remember(findings, tried=tried, known=lambda server_id: server_id in known, now=now)


def test_a_finding_is_remembered_until_its_server_is_known_without_it(tmp_path: Path) -> None:
    a, b = finding("A"), finding("B")
    remember(tmp_path, a, b, tried="AB", known="AB")
    # A's reading was incomplete, and B's was not.
    remember(tmp_path, tried="AB", known="B", now=NOW + HOUR)
    sightings = Sightings(tmp_path)
    assert (sightings.first_seen(a.key), sightings.first_seen(b.key)) == (NOW, None)


def test_a_server_that_is_beyond_suspicion_is_forgotten(tmp_path: Path) -> None:
    once = finding("A")
    remember(tmp_path, once, tried="A", known="A")
    remember(tmp_path, known="A")
    assert Sightings(tmp_path).first_seen(once.key) is None
    assert json.loads((tmp_path / "sightings.json").read_text()) == {
        "first_seen": {},
        "last_checked": {},
        "removals": {},
        "unchanged": {},
    }


def test_what_is_due_is_known_until_its_server_is_known_without_it(tmp_path: Path) -> None:
    old, young = finding("A"), finding("B", NOW + HOUR)
    kept = dataclasses.replace(finding("C"), disposition=Disposition.REPORT)
    remember(tmp_path, old, young, kept, tried="ABC", known="ABC")
    removals = Sightings(tmp_path).unjudged_removals
    assert [removals(ids, NOW) for ids in ("ABC", "A", "B", "")] == [1, 1, 0, 0]
    assert removals("ABC", NOW + HOUR) == 2
    remember(tmp_path, dataclasses.replace(old, disposition=Disposition.REPORT), known="A")
    assert Sightings(tmp_path).unjudged_removals("ABC", NOW + HOUR) == 1


def test_the_least_recently_checked_come_first(tmp_path: Path) -> None:
    for number, server_id in enumerate("BAC"):
        remember(tmp_path, tried=server_id, now=NOW + number * HOUR)
    assert list("DEBAC") == Sightings(tmp_path).least_recent_first("ABCDE", NOW + 3 * HOUR)


def test_what_was_checked_in_the_future_is_not_left_to_the_end(tmp_path: Path) -> None:
    remember(tmp_path, tried="A", now=NOW + 1000 * HOUR)
    remember(tmp_path, tried="B", now=NOW)
    assert Sightings(tmp_path).least_recent_first("AB", NOW + HOUR) == ["A", "B"]


def test_two_runs_that_share_the_file_keep_what_the_other_wrote(tmp_path: Path) -> None:
    one, other = Sightings(tmp_path), Sightings(tmp_path)
    assert one.first_seen(NOBODY) is other.first_seen(NOBODY) is None
    one.remember([finding("A")], tried="A", known=lambda each: each == "A", now=NOW)
    other.remember([finding("B")], tried="B", known=lambda each: each == "B", now=NOW)
    later = Sightings(tmp_path)
    assert {NOW} == {later.first_seen(finding(each).key) for each in "AB"}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"first_seen": {"A B": "2026-11-22T12:00:00"}, "last_checked": {}}', '{"A B": "2026-11-22"}'],
)
def test_a_file_that_makes_no_sense_counts_as_none_and_is_replaced(tmp_path: Path, text: str) -> None:
    (tmp_path / "sightings.json").write_text(text)
    seen = finding("A")
    assert Sightings(tmp_path).first_seen(NOBODY) is None
    remember(tmp_path, seen, tried="A", known="A")
    assert Sightings(tmp_path).first_seen(seen.key) == NOW


def test_what_was_given_up_is_known_as_long_as_it_is_found_unchanged(tmp_path: Path) -> None:
    a, b = finding("A"), finding("B")
    remember(tmp_path, a, b, tried="AB", known="AB")
    Sightings(tmp_path).keep_unchanged([a.key, b.key], NOW)
    Sightings(tmp_path).keep_unchanged([a.key], NOW + HOUR)
    remember(tmp_path, a, tried="AB", known="AB", now=NOW + HOUR)
    sightings = Sightings(tmp_path)
    assert (sightings.unchanged_since(a.key), sightings.unchanged_since(b.key)) == (NOW, None)
    # Removals that no run makes do not count against those that it has no time for.
    assert sightings.unjudged_removals("AB", NOW + HOUR) == 0


def test_sightings_of_a_release_that_did_not_remember_it_are_kept(tmp_path: Path) -> None:
    once = finding("A")
    remember(tmp_path, once, tried="A", known="A")
    path = tmp_path / "sightings.json"
    path.write_text(
        json.dumps({name: each for name, each in json.loads(path.read_text()).items() if name != "unchanged"})
    )
    assert Sightings(tmp_path).first_seen(once.key) == NOW
