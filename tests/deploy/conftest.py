# SPDX-License-Identifier: Apache-2.0
"""What the rules and the dashboard are compared with."""

from __future__ import annotations

import re
from datetime import datetime, timezone

import pytest

from dedangle.core.decisions import Disposition, Finding, Outcome, Remedy, Result, Verdict
from dedangle.core.run import Run
from dedangle.core.sharding import WHOLE
from dedangle.report import metrics


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of all metrics, as a sweep and an audit write them."""
    path = tmp_path_factory.mktemp("metrics") / "dedangle.prom"
    now = datetime.now(timezone.utc)
    run = Run(run_id="r")
    for volume_id, result in (("removed", Result.REMOVED), ("refused", Result.REFUSED)):
        finding = Finding(
            code="attachment-never-used",
            verdict=Verdict.DANGLING,
            remedy=Remedy.REMOVE_ATTACHMENT,
            disposition=Disposition.REMOVE,
            server_id="",
            volume_id=volume_id,
            first_seen=now,
        )
        run.add([finding])
        run.outcomes[finding.key] = Outcome(result=result)
    metrics.write(path, run, shard=WHOLE, succeeded=False, max_removals=25, seconds=1, lock_age=1, now=now)
    metrics.write_audit(path, run, succeeded=False, seconds=1, now=now)
    return set(re.findall(r"^dedangle_\w+", path.read_text(), re.MULTILINE))
