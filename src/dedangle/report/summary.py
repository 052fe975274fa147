# SPDX-License-Identifier: Apache-2.0
"""A run in one line: what was found, or what was looked at in vain."""

from __future__ import annotations

from dedangle.core.run import Run


def summary(run: Run, seconds: float) -> str:
    """Return the last line of a run that took so many seconds."""
    counts = ", ".join(f"{count} {what}" for what, count in run.counts().items() if count)
    if run.not_checked:
        found = counts or "nothing could be judged"
    else:
        found = "; ".join(part for part in (_nothing_found(run), counts) if part)
    return f"Run {run.run_id}, {seconds:.1f} s: {found}."


def _nothing_found(run: Run) -> str:
    """Say what was looked at, if nothing dangles: an empty list could as well mean that nothing was read."""
    if run.listed():
        return ""
    looked_at = f"{_many(run.servers, 'server')}, {_many(run.volumes, 'volume')}"
    if run.is_filtered:
        return f"no finding matches the filters ({looked_at} looked at)"
    return f"no dangling volume attachments found ({looked_at})"


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
