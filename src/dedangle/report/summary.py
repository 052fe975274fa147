# SPDX-License-Identifier: Apache-2.0
"""The summary of a run in one line: what was found, or what was checked without a finding."""

from __future__ import annotations

from collections.abc import Mapping

from dedangle.core.decisions import Result
from dedangle.core.findings import KINDS
from dedangle.core.run import Run


def summary(run: Run, seconds: float) -> str:
    """Return the last line of the output; `seconds` is the duration of the run."""
    counts = {what: count for what, count in run.counts().items() if count}
    outcomes = {result.value for result in Result}
    found = _listed({what: count for what, count in counts.items() if what in KINDS})
    changes = _listed({what: count for what, count in counts.items() if what in outcomes})
    others = _listed({what: count for what, count in counts.items() if what not in KINDS and what not in outcomes})
    parts = [f"findings: {found}" if found else _nothing_found(run)]
    parts += [f"outcomes: {changes}"] if changes else []
    parts += [f"other pairs: {others}"] if others else []
    return f"Run {run.run_id}, {seconds:.1f} s: {'; '.join(filter(None, parts))}."


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.items())


def _nothing_found(run: Run) -> str:
    """Return what was checked if nothing dangles, so that an empty list does not look like a failed read."""
    if run.not_checked:
        return "" if any(run.counts().values()) else "nothing could be judged; to find the cause, run: dedangle doctor"
    looked_at = f"{_many(run.servers, 'server')}, {_many(run.volumes, 'volume')}"
    if run.is_filtered:
        return f"no finding matches the filters ({looked_at} checked)"
    return f"no dangling volume attachments found ({looked_at})"


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
