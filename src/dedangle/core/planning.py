# SPDX-License-Identifier: Apache-2.0
"""Findings and limits become changes in order, or a refusal with its reason."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping

from dedangle.core.decisions import Finding, Remedy
from dedangle.core.records import Refusal

Scope = tuple[str, str]
"""(kind, name): run, cell or project."""

RUN: Scope = ("run", "")

# Below this many attachments a percentage says nothing.
PERCENT_FROM = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """The fuse: as many removals as the smaller of the two, and none at all above it."""

    max_removals: int
    max_removals_percent: float
    unjudged_removals: int = 0
    """Removals that are due on servers which the run had no time to judge: they count in the run, or a short time
    budget would let through bit by bit what the fuse is there to stop."""


def changes(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return what the door would change, in the order of the writes.

    Mappings come first: outside nova-compute Cinder's record is the stronger lock and goes last, and a crash between
    the two leaves a tombstone in Nova that tells what happened.
    """
    acting = [finding for finding in findings if finding.disposition.is_change]
    return tuple(
        sorted(
            acting,
            key=lambda finding: (finding.server_id, finding.remedy is Remedy.REMOVE_ATTACHMENT, str(finding.key)),
        )
    )


def scopes(cell: str | None, project_id: str | None) -> tuple[Scope, ...]:
    """Where a row counts: in the run, in its cell, in its project."""
    return (RUN, ("cell", cell or "none"), ("project", project_id or "none"))


def _counts(planned: Iterable[Finding], limits: Limits) -> Counter[Scope]:
    counts = Counter(scope for finding in planned for scope in scopes(finding.cell, finding.project_id))
    if counts:
        counts[RUN] += limits.unjudged_removals
    return counts


def _limit(limits: Limits, total: int) -> int:
    if total < PERCENT_FROM:
        return limits.max_removals
    return min(limits.max_removals, int(total * limits.max_removals_percent / 100))


def enough(limits: Limits) -> float:
    """From so many attachments on the percentage of the fuse makes no difference."""
    if limits.max_removals_percent <= 0:
        return math.inf
    return max(PERCENT_FROM, 100 * limits.max_removals / limits.max_removals_percent + 1)


def removals_left(planned: Iterable[Finding], limits: Limits, totals: Mapping[Scope, int]) -> int:
    """How many more removals than planned the limits allow, wherever they fall."""
    return min(
        (_limit(limits, totals.get(scope, 0)) - count for scope, count in _counts(planned, limits).items()),
        default=limits.max_removals,
    )


def project_to_leave_out(
    planned: Iterable[Finding], limits: Limits, totals: Mapping[Scope, int]
) -> tuple[str | None, Refusal] | None:
    """Return the one project whose removals are over the limit, and why; None if there is none, or more than one.

    One tenant's left-overs must not keep the sweep from everybody's. Two projects over their limits look like an
    outage or a restored database, which stops the run.
    """
    planned = tuple(planned)
    counts = _counts(planned, limits)
    refused = {}
    for project_id in dict.fromkeys(finding.project_id for finding in planned):
        scope = ("project", project_id or "none")
        why = _refusal_of(scope, counts[scope], limits, totals)
        if why:
            refused[project_id] = why
    return next(iter(refused.items())) if len(refused) == 1 else None


def refusal(planned: Iterable[Finding], limits: Limits, totals: Mapping[Scope, int]) -> Refusal | None:
    """Return why the fuse trips; totals are the live attachments in each scope."""
    counts = _counts(planned, limits)
    in_order = sorted(counts, key=lambda each: (each != RUN, each))
    reasons = (_refusal_of(scope, counts[scope], limits, totals) for scope in in_order)
    return next((why for why in reasons if why), None)


def _refusal_of(scope: Scope, count: int, limits: Limits, totals: Mapping[Scope, int]) -> Refusal | None:
    (kind, name), total = scope, totals.get(scope, 0)
    where = f"in {kind} {name}" if name else "in this run"
    if scope == RUN and limits.unjudged_removals:
        where += f", {limits.unjudged_removals} of them found before on servers that it had no time for,"
    if count > limits.max_removals:
        return Refusal(
            f"{count} removals {where} are more than max_removals ({limits.max_removals}). "
            "Look at the findings first; raise --max-removals if they are what you expect."
        )
    if count > _limit(limits, total):
        return Refusal(
            f"{count} removals {where} are more than max_removals_percent ({limits.max_removals_percent:g}) of "
            f"{total} attachments. Look at the findings first: an outage or a restored database looks like this."
        )
    return None
