# SPDX-License-Identifier: Apache-2.0
"""Findings and changes as a table that fits a terminal: short ids, each above its name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Mapping as MappingType
from typing import NamedTuple

from dedangle.core.decisions import Finding
from dedangle.core.ids import short_ids
from dedangle.core.run import Run
from dedangle.core.text import harmless, shortened, width

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""Names of columns, and rows."""

_WIDTH = 80
_WIDE = 120
"""From how many columns on a table of findings has room for project and host."""
_PROJECT = 20


class Subject(NamedTuple):
    """What a row is about; an id may be empty, and names are their tenants' words."""

    server_id: str
    server_name: str | None
    volume_id: str
    volume_name: str | None


def table(run: Run, findings: Sequence[Finding], columns: int | None = None) -> Table:
    """Return the table of findings for the terminal width, or for 80; the last column is the outcome after changes."""
    last = "outcome" if run.outcomes else "disposition"
    more = {}
    if columns and columns >= _WIDE:
        more["project"] = [
            shortened(harmless(run.project_name(finding) or finding.project_id or ""), _PROJECT) for finding in findings
        ]
        more["host"] = [harmless(finding.host or "") for finding in findings]
    return fitted(
        {"code": [finding.code for finding in findings]},
        [_subject_of(finding) for finding in findings],
        {**more, last: [_end(run, finding) for finding in findings]},
        columns,
    )


def _subject_of(finding: Finding) -> Subject:
    """Return server and volume; of a connection that a host alone has, the host and the connection."""
    if finding.server_id or not finding.host_side:
        return Subject(finding.server_id, finding.server_name, finding.volume_id, finding.volume_name)
    return Subject(finding.host_side[0].host, None, finding.host_side[0].source, None)


def fitted(
    before: MappingType[str, Sequence[str]],
    subjects: Sequence[Subject],
    after: MappingType[str, Sequence[str]],
    columns: int | None,
) -> Table:
    """Return a table with the server and volume columns between other columns, for the terminal width.

    The table is at least 80 wide. Servers and volumes share the width that the other columns leave.
    """
    taken = sum(_widest([title, *texts]) for title, texts in (*before.items(), *after.items()))
    # Each column has a line to its left and a space to both sides; the last line is that of the margin.
    frame = 3 * (len(before) + len(after) + 2) + 1
    left = max(_WIDTH, columns or _WIDTH) - frame - taken
    servers = short_ids(subject.server_id for subject in subjects)
    volumes = short_ids(subject.volume_id for subject in subjects)
    names = {
        "server": _widest(["server", *servers.values(), *(subject.server_name or "" for subject in subjects)]),
        "volume": _widest(["volume", *volumes.values(), *(subject.volume_name or "" for subject in subjects)]),
    }
    of_server = max(left // 2, left - names["volume"])
    of_volume = left - min(of_server, names["server"])
    rows = [
        (
            *(texts[number] for texts in before.values()),
            _subject(servers[subject.server_id], subject.server_name, of_server),
            _subject(volumes[subject.volume_id], subject.volume_name, of_volume),
            *(texts[number] for texts in after.values()),
        )
        for number, subject in enumerate(subjects)
    ]
    return (*before, "server", "volume", *after), rows


def _end(run: Run, finding: Finding) -> str:
    outcome = run.outcomes.get(finding.key)
    return outcome.result.value if outcome else finding.disposition.value


def _widest(texts: Iterable[str]) -> int:
    return max(width(harmless(line)) for text in texts for line in text.split("\n"))


def _subject(short_id: str, name: str | None, columns: int) -> str:
    text = harmless(short_id)
    # A short id is wrapped and not cut, because operators copy it into the next command.
    lines = [text[start : start + columns] for start in range(0, len(text), columns)]
    return "\n".join([*lines, *([shortened(harmless(name), columns)] if name else [])])
