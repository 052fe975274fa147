# SPDX-License-Identifier: Apache-2.0
"""Turn findings and limits into an ordered list of changes, or into a refusal with its reason."""

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

# With fewer attachments a percentage is meaningless.
PERCENT_FROM = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """The removal limit (fuse): the smaller of the two applies, and above it nothing is removed at all."""

    max_removals: int
    max_removals_percent: float
    unjudged_removals: int = 0
    """Known removals on servers that the run had no time to judge. They count too. Otherwise several runs with a short
    time budget would together make more removals than the limit allows."""


def changes(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings that the door would change, in the order of the writes.

    Mappings come first. Cinder's row is the stronger lock and is removed last, and after a crash between the two
    writes the tombstone in Nova shows what happened.
    """
    acting = [finding for finding in findings if finding.disposition.is_change]
    return tuple(
        sorted(
            acting,
            key=lambda finding: (finding.server_id, finding.remedy is Remedy.REMOVE_ATTACHMENT, str(finding.key)),
        )
    )


def scopes(cell: str | None, project_id: str | None) -> tuple[Scope, ...]:
    """Return the scopes in which a row counts: the run, its cell and its project."""
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
    """Return the number of attachments from which max_removals is lower than the percentage."""
    if limits.max_removals_percent <= 0:
        return math.inf
    return max(PERCENT_FROM, 100 * limits.max_removals / limits.max_removals_percent + 1)


def removals_left(planned: Iterable[Finding], limits: Limits, totals: Mapping[Scope, int]) -> int:
    """Return how many more removals the limits allow in every scope."""
    return min(
        (_limit(limits, totals.get(scope, 0)) - count for scope, count in _counts(planned, limits).items()),
        default=limits.max_removals,
    )


def project_to_leave_out(
    planned: Iterable[Finding], limits: Limits, totals: Mapping[Scope, int]
) -> tuple[str | None, Refusal] | None:
    """Return the only project that exceeds the limit, and why; None if no project or several projects exceed it.

    The many findings of one tenant must not block the sweep for all others. Two projects above the limit look like an
    outage or a restored database, and these must stop the run.
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
    """Return why the removal limit forbids the plan; totals are the live attachments in each scope."""
    counts = _counts(planned, limits)
    in_order = sorted(counts, key=lambda each: (each != RUN, each))
    reasons = (_refusal_of(scope, counts[scope], limits, totals) for scope in in_order)
    return next((why for why in reasons if why), None)


def _refusal_of(scope: Scope, count: int, limits: Limits, totals: Mapping[Scope, int]) -> Refusal | None:
    (kind, name), total = scope, totals.get(scope, 0)
    where = f"in {kind} {name}" if name else "in this run"
    if scope == RUN and limits.unjudged_removals:
        where += f" ({limits.unjudged_removals} of them on servers that this run had no time to check)"
    if count > limits.max_removals:
        return Refusal(
            f"{count} removals planned {where} exceed max_removals ({limits.max_removals}). "
            "Check the findings first. If they are correct, run again with a higher --max-removals."
        )
    if count > _limit(limits, total):
        return Refusal(
            f"{count} removals planned {where} exceed max_removals_percent ({limits.max_removals_percent:g} % of "
            f"{total} attachments). Check the findings first: they can come from an outage or a restored database."
        )
    return None
