# SPDX-License-Identifier: Apache-2.0
"""The JSON document of a run; fields are only ever added."""

from __future__ import annotations

import json
from typing import Any

from dedangle.core.decisions import Finding
from dedangle.core.rows import DESCRIPTION, FIELDS, finding_row
from dedangle.core.run import Run

SCHEMA_VERSION = 1
# New fields are added at the end, because scripts read csv and value output by the position of a column.
COLUMNS = (
    *(name for name in FIELDS if name not in DESCRIPTION),
    *("outcome", "outcome_detail", *DESCRIPTION, "project_name"),
)


def row(run: Run, finding: Finding) -> dict[str, Any]:
    """Return a finding with its outcome, as JSON types."""
    outcome = run.outcomes.get(finding.key)
    return {
        **finding_row(finding),
        "outcome": outcome.result.value if outcome else None,
        "outcome_detail": outcome.detail or None if outcome else None,
        "project_name": run.project_name(finding),
    }


def document(run: Run, *, everything: bool) -> str:
    """Return the whole run as JSON text."""
    body = {
        "schema_version": SCHEMA_VERSION,
        "run_id": run.run_id,
        "complete": run.complete,
        "counts": run.counts(),
        "findings": [row(run, finding) for finding in run.listed(everything)],
        "not_checked": run.not_checked,
        "troubles": run.troubles,
        "refusal": str(run.refusal) if run.refusal else None,
    }
    return json.dumps(body, indent=2) + "\n"
