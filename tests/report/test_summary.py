# SPDX-License-Identifier: Apache-2.0
"""The last line of a run says what was found; if nothing was, it says what was looked at."""

from __future__ import annotations

import dataclasses

import pytest
from runs import finding, run_of

from dedangle.core.decisions import Outcome, Result, Verdict
from dedangle.report.summary import summary

RUN = "Run 0123456789ab, 1.5 s: "


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "no dangling volume attachments found (0 servers, 0 volumes)."),
        (
            {"servers": 12, "volumes": 30, "paired": 31},
            "no dangling volume attachments found (12 servers, 30 volumes); other pairs: 31 consistent.",
        ),
        ({"servers": 1, "volumes": 1}, "no dangling volume attachments found (1 server, 1 volume)."),
        (
            {"servers": 12, "volumes": 30, "paired": 31, "is_filtered": True},
            "no finding matches the filters (12 servers, 30 volumes checked).",
        ),
        (
            {"servers": 12, "not_checked": ["every server: Cinder did not answer"]},
            "nothing could be judged; to find the cause, run: dedangle doctor.",
        ),
    ],
)
def test_what_was_looked_at_is_said_if_nothing_was_found(fields: dict[str, object], expected: str) -> None:
    assert summary(run_of(**fields), 1.5) == RUN + expected  # type: ignore[arg-type]


def test_what_was_found_is_counted() -> None:
    one = finding("link-mismatch")
    busy = dataclasses.replace(one, code="in-flight", verdict=Verdict.IN_FLIGHT)
    assert summary(run_of(one, servers=3), 1.5) == f"{RUN}findings: 1 link-mismatch."
    assert summary(run_of(busy, servers=3, volumes=4), 1.5) == (
        f"{RUN}no dangling volume attachments found (3 servers, 4 volumes); other pairs: 1 in-flight."
    )


def test_findings_outcomes_and_other_pairs_are_not_mixed() -> None:
    run = run_of(finding("mapping-never-attached"), finding("attachment-never-used", 1), paired=19)
    run.outcomes[next(iter(run.findings))] = Outcome(result=Result.REMOVED)
    assert summary(run, 1.5) == (
        f"{RUN}findings: 1 attachment-never-used, 1 mapping-never-attached; outcomes: 1 removed; "
        "other pairs: 19 consistent."
    )


def test_what_was_not_checked_is_no_clean_cloud() -> None:
    run = run_of(paired=19, not_checked=["cell1: it did not answer"])
    assert summary(run, 1.5) == f"{RUN}other pairs: 19 consistent."
