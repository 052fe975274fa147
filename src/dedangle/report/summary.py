# SPDX-License-Identifier: Apache-2.0
"""The summary of a run in one line: what was found, or what was checked without a finding."""

from __future__ import annotations

from dedangle.core.run import Run


def summary(run: Run, seconds: float) -> str:
    """Return the last line of the output; `seconds` is the duration of the run."""
    counts = ", ".join(f"{count} {what}" for what, count in run.counts().items() if count)
    if run.not_checked:
        found = counts or "nothing could be judged"
    else:
        found = "; ".join(part for part in (_nothing_found(run), counts) if part)
    return f"Run {run.run_id}, {seconds:.1f} s: {found}."


def _nothing_found(run: Run) -> str:
    """Return what was checked if nothing dangles, so that an empty list does not look like a failed read."""
    if run.listed():
        return ""
    looked_at = f"{_many(run.servers, 'server')}, {_many(run.volumes, 'volume')}"
    if run.is_filtered:
        return f"no finding matches the filters ({looked_at} checked)"
    return f"no dangling volume attachments found ({looked_at})"


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
