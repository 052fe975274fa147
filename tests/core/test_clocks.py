# SPDX-License-Identifier: Apache-2.0
"""Runs whose clock jumps between them: the grace period passes once the clock is right, and never for nothing."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from worlds import NOW, SERVER, World, attachment, findings, policy, server, volume

from dedangle.core.decisions import Door
from dedangle.state.sightings import Sightings

RESERVED = World(servers=(server(),), attachments=(attachment("B", "reserved"),), volumes=(volume("reserved"),))
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def runs(state_dir: Path, *after: timedelta) -> list[str]:
    """What each of the runs does, when its clock shows so much after (or before) the same moment."""
    done = []
    for span in after:
        sightings, now = Sightings(state_dir), NOW + span
        how = policy(Door.SWEEP, grace_reserved=HOUR)
        (finding,) = findings(RESERVED, now=now, policy=how, first_seen=sightings.first_seen)
        sightings.remember([finding], tried={SERVER}, known=lambda _: True, now=now)
        done.append(finding.disposition.value)
    return done


@pytest.mark.parametrize("ahead", [2 * MINUTE, HOUR, 1000 * HOUR])
def test_a_clock_that_was_ahead_costs_the_grace_period_once_more_and_no_longer(
    tmp_path: Path, ahead: timedelta
) -> None:
    assert runs(tmp_path, ahead, 0 * HOUR, 59 * MINUTE, HOUR) == ["wait", "wait", "wait", "remove"]


@pytest.mark.parametrize("back", [MINUTE, 2 * HOUR, 100 * HOUR])
def test_a_clock_that_goes_back_again_and_again_never_ends_the_grace_period_early(
    tmp_path: Path, back: timedelta
) -> None:
    assert runs(tmp_path, 0 * HOUR, -back, -2 * back, 59 * MINUTE - 2 * back) == ["wait"] * 4
    assert runs(tmp_path, HOUR - 2 * back) == ["remove"]
