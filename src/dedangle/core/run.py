# SPDX-License-Identifier: Apache-2.0
"""What a run found, changed and could not check."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping

from dedangle.core.decisions import Finding, FindingKey, Outcome, Result, Verdict
from dedangle.core.findings import KINDS
from dedangle.core.records import Refusal


@dataclasses.dataclass
class Run:
    """The record of a run, filled in while it goes on; every door and every output uses it."""

    run_id: str
    findings: dict[FindingKey, Finding] = dataclasses.field(default_factory=dict)
    outcomes: dict[FindingKey, Outcome] = dataclasses.field(default_factory=dict)
    not_checked: list[str] = dataclasses.field(default_factory=list)
    troubles: list[str] = dataclasses.field(default_factory=list)
    """Failures other than those of findings, each with the next command to type."""
    refusal: Refusal | None = None
    oldest_first: bool = False
    """Whether findings are listed in the order in which their rows changed."""
    is_filtered: bool = False
    """Whether the operator selected a part of the cloud; consistent pairs are not counted then."""
    paired: int = 0
    """The number of pairs that the bulk read found consistent; they have no finding of their own."""
    consistent: int = 0
    """The number of consistent pairs of servers that were judged."""
    servers: int = 0
    """The number of servers that were checked."""
    volumes: int = 0
    """The number of volumes that were checked: those that a mapping or an attachment names."""
    project_names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """By id, for people; empty if Keystone does not list them. Names are chosen by their domain."""

    def add(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            if finding.verdict is Verdict.CONSISTENT:
                self.consistent += 1
            else:
                self.findings[finding.key] = finding

    def miss(self, why: Iterable[str]) -> None:
        """Add reasons why something was not checked, each only once."""
        self.not_checked += [reason for reason in dict.fromkeys(why) if reason not in self.not_checked]

    def project_name(self, finding: Finding) -> str | None:
        return self.project_names.get(finding.project_id or "")

    def trouble(self, sentence: str) -> None:
        self.troubles.append(sentence)

    @property
    def complete(self) -> bool:
        """Whether everything was read, and no change was refused or failed.

        The JSON document, the page, the metrics and exit code 5 all use this.
        """
        return not (self.not_checked or self.failed() or self.troubles)

    def listed(self, everything: bool = False) -> list[Finding]:
        """Return the findings to show: those with a code of the table, or all that are not consistent."""
        shown = (finding for finding in self.findings.values() if finding.code in KINDS or everything)
        listed = sorted(shown, key=lambda each: (each.code not in KINDS, each.code, each.server_id, str(each.key)))
        if self.oldest_first:
            listed.sort(key=lambda each: (each.changed_at is None, each.changed_at and each.changed_at.timestamp()))
        return listed

    def waiting(self) -> list[Finding]:
        """Return the findings that wait for an operation in progress on the server or the volume."""
        return [finding for finding in self.listed(True) if finding.verdict is Verdict.IN_FLIGHT]

    def counts(self) -> dict[str, int]:
        """Return the number of findings by code, of other pairs by verdict, and of changes by outcome."""
        counts = Counter(finding.code for finding in self.findings.values())
        counts[Verdict.CONSISTENT.value] = self.consistent + (0 if self.is_filtered else self.paired)
        counts.update(outcome.result.value for outcome in self.outcomes.values())
        return dict(sorted(counts.items()))

    def removed(self) -> list[Finding]:
        return [finding for key, finding in self.findings.items() if self._result(key) is Result.REMOVED]

    def left(self) -> list[Finding]:
        """Return the listed findings whose remedy was not carried out."""
        results = ((finding, self._result(finding.key)) for finding in self.listed())
        return [finding for finding, result in results if result is None or not result.is_done]

    def failed(self) -> bool:
        """Whether a removal was refused or failed, or may have; changed-meanwhile is neither."""
        bad = (Result.FAILED, Result.REFUSED, Result.UNKNOWN)
        return any(outcome.result in bad for outcome in self.outcomes.values())

    def _result(self, key: FindingKey) -> Result | None:
        outcome = self.outcomes.get(key)
        return outcome.result if outcome else None
