# SPDX-License-Identifier: Apache-2.0
"""The HTML report of a run: one file that needs no server, no network and no external script."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from importlib import resources
from typing import Any, NamedTuple

from jinja2 import Environment, StrictUndefined

from dedangle.core.decisions import Disposition, Finding, Result, Verdict
from dedangle.core.findings import KINDS
from dedangle.core.run import Run
from dedangle.core.text import harmless
from dedangle.core.times import utc
from dedangle.report import document

# With more findings than this, the page opens with all of them closed.
_OPEN_UP_TO = 10
_GROUPS = {
    "urgent": ("Urgent", "Two servers may write to one volume. Stop one of them before you do anything else."),
    "failed": (
        "Failed or refused",
        "These changes failed, were refused, or had no answer. Each finding has the error.",
    ),
    "report": ("Your decision", "dedangle does not remove these by itself. Each finding has the reason."),
    "protect": ("Root disks", "Kept unless you use --allow-root. A server does not boot without its root disk."),
    "remove": ("Can be corrected", "The command of each finding makes a change. Read the reason before you run it."),
    "wait": ("Check again later", "An operation may be in progress, or the grace period has not passed."),
    "changed": (
        "Changed meanwhile",
        "A row changed during the run, so dedangle kept it. The next run checks it again.",
    ),
    "done": ("Done", "The journal has every change: dedangle journal list"),
    "quiet": ("Left alone", "In progress, of another service, or from the time before Cinder had attachments."),
}
_OUTCOMES = {
    Result.REMOVED: "done",
    Result.RELINKED: "done",
    Result.RESTORED: "done",
    Result.CHANGED_MEANWHILE: "changed",
    Result.REFUSED: "failed",
    Result.FAILED: "failed",
    Result.UNKNOWN: "failed",
}
_DISPOSITIONS = {
    Disposition.REMOVE: "remove",
    Disposition.RELINK: "remove",
    Disposition.RESTORE: "remove",
    Disposition.REPORT: "report",
    Disposition.WAIT: "wait",
    Disposition.PROTECT: "protect",
}
_FILTERS = {"code": "Finding", "group": "To do", "cell": "Cell", "host": "Host", "project_id": "Project"}


class _Bar(NamedTuple):
    label: str
    number: int
    percent: float
    """Percentage of the longest bar of the chart."""


def page(run: Run, *, everything: bool, command: str, at: datetime) -> str:
    """Return the run as an HTML page; `command` is the command line of the run, `at` the time of the report."""
    cards = [_card(run, finding, command) for finding in run.listed(everything)]
    groups = [
        {"title": title, "advice": advice, "codes": _by_code(card for card in cards if card["group"] == title)}
        for title, advice in _GROUPS.values()
        if any(card["group"] == title for card in cards)
    ]
    style, script = _part("page.css"), _part("page.js")
    # Values may be text of tenants. autoescape keeps it out of the markup; `harmless` escapes control characters.
    environment = Environment(
        autoescape=True, finalize=_finalize, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    return environment.from_string(_part("page.html")).render(
        policy=_policy(style, script),
        style=style,
        script=script,
        run_id=run.run_id,
        command=command,
        at=utc(at),
        complete=run.complete,
        refusal=str(run.refusal or ""),
        not_checked=run.not_checked,
        troubles=run.troubles,
        consistent=run.counts()[Verdict.CONSISTENT.value],
        total=len(cards),
        unfolded=len(cards) <= _OPEN_UP_TO,
        charts=_charts(run),
        groups=groups,
        filters=_filters(cards),
        project_names=run.project_names,
    )


def _card(run: Run, finding: Finding, command: str) -> dict[str, Any]:
    outcome = run.outcomes.get(finding.key)
    typed = list(finding.next)
    if not typed and not outcome and finding.disposition.is_change:
        typed = [f"{command} --execute"]
    return {
        **document.row(run, finding),
        "sentence": finding.sentence,
        "on_host": "; ".join(map(str, finding.host_side or ())),
        "size": "" if finding.volume_size is None else f"{finding.volume_size} GiB",
        "advice": "" if outcome else finding.advice,
        "commands": [] if outcome and outcome.result.is_done else typed,
        "group": _GROUPS[_group(finding, outcome.result if outcome else None)][0],
    }


def _group(finding: Finding, result: Result | None) -> str:
    if result:
        return _OUTCOMES[result]
    if finding.is_urgent:
        return "urgent"
    return _DISPOSITIONS[finding.disposition] if finding.code in KINDS else "quiet"


def _by_code(cards: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for card in cards:
        found.setdefault(card["code"], []).append(card)
    return found


def _charts(run: Run) -> list[tuple[str, list[_Bar]]]:
    """Return the charts. Consistent pairs have no bar, because their number would hide all other bars."""
    verdicts = Counter(finding.verdict.value for finding in run.findings.values())
    cells = Counter(finding.cell or "no cell" for finding in run.findings.values() if finding.code in KINDS)
    return [(title, list(_bars(counts))) for title, counts in (("By verdict", verdicts), ("By cell", cells)) if counts]


def _bars(counts: Counter[str]) -> Iterator[_Bar]:
    longest = max(counts.values())
    for label, count in counts.most_common():
        yield _Bar(label, count, max(0.5, round(100 * count / longest, 1)))


def _filters(cards: Sequence[dict[str, Any]]) -> list[tuple[str, str, list[str]]]:
    """Return the filters of the page: the fields that have more than one value."""
    found = ((name, label, sorted({card[name] or "" for card in cards})) for name, label in _FILTERS.items())
    return [(name, label, values) for name, label, values in found if len(values) > 1]


def _policy(style: str, script: str) -> str:
    """Return a Content-Security-Policy that allows only the page's own style and script, by their hashes."""
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _finalize(value: Any) -> Any:
    # The template marks only the page's own style and script as safe; their line ends must stay.
    return harmless(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _part(name: str) -> str:
    return (resources.files("dedangle.report") / "page" / name).read_text(encoding="utf-8")
