# SPDX-License-Identifier: Apache-2.0
"""Judge a dirty cloud as a sweep does, and count statements and requests, in a separate process."""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from typing import Any

import sqlalchemy as sa
from benchmarks.fleet.screen import status

from dedangle.cli import wiring
from dedangle.cli.signals import Signals
from dedangle.core.decisions import Door
from dedangle.core.run import Run
from dedangle.reconcile import sweep
from dedangle.reconcile.inspection import Inspection
from dedangle.systems.cinder.client import CinderClient


def main() -> None:
    config_file, concurrency, way, limit = sys.argv[1:]
    wired = wiring.wire(["--config-file", config_file], Signals())
    statements: Counter[str] = Counter()
    requests: Counter[str] = Counter()
    sa.event.listen(sa.engine.Engine, "before_cursor_execute", lambda *event: _count(statements, event[2]))
    ask = CinderClient._ask

    def counted(self: Any, method: str, path: str, **options: Any) -> Any:
        requests[re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", path)] += 1
        return ask(self, method, path, **options)

    CinderClient._ask = counted  # type: ignore[method-assign]
    before, began = status("VmHWM"), time.perf_counter()
    moments: dict[str, float] = {}

    reconciler = wired.reconciler(Door.SWEEP)
    inspection = wired.inspection(reconciler, lambda *_: None, concurrency=int(concurrency))
    run = Run(run_id="benchmark")
    judge = sweep.judge_servers

    def some(server_ids: Any, *rest: Any, **how: Any) -> Any:
        """Judge the first of the suspects, and count from here on."""
        server_ids = server_ids[: int(limit)]
        statements.clear()
        requests.clear()
        moments["screened"] = time.perf_counter()
        answer["mb_screened"] = status("VmHWM")
        auditors = how.pop("auditors")
        if way == "together":
            how["auditors"] = (each for each, _ in zip(auditors, server_ids, strict=False))
        yield from judge(server_ids, *rest, **how)
        moments["judged"] = time.perf_counter()
        answer["statements"], answer["requests"] = dict(statements), dict(requests)

    answer: dict[str, Any] = {}
    sweep.judge_servers = some
    fleet = Inspection.of_fleet(inspection, wired.bulk, run)
    answer |= {
        "screen": moments.get("screened", 0) - began,
        "judging": moments.get("judged", 0) - moments.get("screened", 0),
        "suspects": min(len(fleet.screen.suspects), int(limit)) if fleet else 0,
        "findings": Counter(finding.code for one in (fleet.judged if fleet else ()) for finding in one.findings),
        "changes": sum(bool(one.changes) for one in (fleet.judged if fleet else ())),
        "unread": run.not_checked[:3],
        "mb_before": before,
        "mb": status("VmHWM"),
    }
    print(json.dumps(answer))


def _count(statements: Counter[str], statement: str) -> None:
    table = re.search(r"FROM \(?\s*(?:SELECT.*?FROM )?(\w+)", statement, re.DOTALL)
    statements[table.group(1) if table else "other"] += 1


if __name__ == "__main__":
    main()
