# SPDX-License-Identifier: Apache-2.0
"""The JSON document of a run; fields are only ever added."""

from __future__ import annotations

import json
from typing import Any

from dedangle.core.records import Finding
from dedangle.core.rows import FIELDS, finding_row
from dedangle.report.account import Account

SCHEMA_VERSION = 1
COLUMNS = (*FIELDS, "outcome", "outcome_detail")


def row(account: Account, finding: Finding) -> dict[str, Any]:
    """One finding with what came of it."""
    outcome = account.outcomes.get(finding.key)
    return {
        **finding_row(finding),
        "outcome": outcome.result.value if outcome else None,
        "outcome_detail": outcome.detail or None if outcome else None,
    }


def document(account: Account, *, everything: bool) -> str:
    """The whole run as JSON text."""
    body = {
        "schema_version": SCHEMA_VERSION,
        "run_id": account.run_id,
        "complete": account.complete,
        "counts": account.counts(),
        "findings": [row(account, each) for each in account.listed(everything)],
        "not_checked": account.not_checked,
        "troubles": account.troubles,
        "refusal": account.refusal or None,
    }
    return json.dumps(body, indent=2) + "\n"
