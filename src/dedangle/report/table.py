# SPDX-License-Identifier: Apache-2.0
"""Findings as a table that fits a terminal: short ids, each above its name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Mapping as MappingType

from dedangle.core.decisions import Finding
from dedangle.core.ids import short_ids
from dedangle.core.run import Run
from dedangle.core.text import harmless, shortened, width

_WIDTH = 80
# Four columns with a line to the left of each and of the margin, and a space to both sides of each.
_FRAME = 4 * 3 + 1


def table(run: Run, findings: Sequence[Finding]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return columns and rows; the last column is the outcome if anything was tried."""
    last = "outcome" if run.outcomes else "disposition"
    ends = [_end(run, finding) for finding in findings]
    taken = sum(
        max(map(len, (title, *texts)))
        for title, texts in (("code", [finding.code for finding in findings]), (last, ends))
    )
    servers = short_ids(finding.server_id for finding in findings)
    volumes = short_ids(finding.volume_id for finding in findings)
    left = _WIDTH - _FRAME - taken
    wanted = _widest(volumes, (finding.volume_name for finding in findings))
    of_server = max(left // 2, left - wanted)
    of_volume = left - min(of_server, _widest(servers, (finding.server_name for finding in findings)))
    rows: list[tuple[str, ...]] = [
        (
            finding.code,
            _subject(finding.server_id, finding.server_name, servers, of_server),
            _subject(finding.volume_id, finding.volume_name, volumes, of_volume),
            end,
        )
        for finding, end in zip(findings, ends, strict=True)
    ]
    return ("code", "server", "volume", last), rows


def _end(run: Run, finding: Finding) -> str:
    outcome = run.outcomes.get(finding.key)
    if run.outcomes:
        return outcome.result.value if outcome else ""
    return finding.disposition.value


def _widest(shortest: MappingType[str, str], names: Iterable[str | None]) -> int:
    texts = ("server", "volume", *shortest.values(), *(name for name in names if name))
    return max(width(harmless(text)) for text in texts)


def _subject(ident: str, name: str | None, shortest: MappingType[str, str], columns: int) -> str:
    text = harmless(shortest[ident])
    # An id is never cut any shorter: it must be accepted back.
    lines = [text[start : start + columns] for start in range(0, len(text), columns)]
    return "\n".join([*lines, *([shortened(harmless(name), columns)] if name else [])])
