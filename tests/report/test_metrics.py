# SPDX-License-Identifier: Apache-2.0
"""The metrics of a run."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from dedangle.core.decisions import Disposition, Finding, Outcome, Remedy, Result, Verdict
from dedangle.core.run import Run
from dedangle.core.sharding import WHOLE, Shard
from dedangle.report import metrics
from promtool import promtool

NOW = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
OF_FINDINGS = ("findings", "urgent_findings", "oldest_finding_age")
SERVER = "8f6b5a1e-0c5d-4c1f-9d7e-2f3a4b5c6d7e"


def finding(number: int, **fields: Any) -> Finding:
    given = {
        "code": "attachment-never-used",
        "verdict": Verdict.DANGLING,
        "remedy": Remedy.REMOVE_ATTACHMENT,
        "disposition": Disposition.REMOVE,
        "server_id": SERVER,
        "volume_id": f"volume-{number}",
        "cell": "cell1",
        "first_seen": NOW - timedelta(hours=number),
    }
    return Finding(**{**given, **fields})


def run() -> Run:
    """Four findings: one is removed, one is refused, one waits in a cell with an odd name, one is urgent."""
    known = Run(run_id="r")
    removed, refused = finding(9), finding(2)
    waits = finding(3, disposition=Disposition.WAIT, cell='a "b"\\c\nd')
    urgent = finding(1, code="volume-in-use-elsewhere", disposition=Disposition.REPORT, is_urgent=True)
    known.add([removed, refused, waits, urgent])
    known.outcomes = {
        removed.key: Outcome(result=Result.REMOVED),
        refused.key: Outcome(result=Result.REFUSED, detail="409"),
    }
    return known


def written(path: Path, known: Run, *, succeeded: bool = False, shard: Shard = WHOLE) -> dict[str, float]:
    metrics.write(path, known, shard=shard, succeeded=succeeded, max_removals=25, seconds=1.5, lock_age=1.2, now=NOW)
    return samples(path)


def written_by_audit(path: Path, known: Run, *, succeeded: bool = False) -> dict[str, float]:
    metrics.write_audit(path, known, succeeded=succeeded, seconds=1.5, now=NOW)
    return samples(path)


def samples(path: Path) -> dict[str, float]:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0].removeprefix("dedangle_"): float(line.rpartition(" ")[2]) for line in lines}


def test_every_sample(tmp_path: Path) -> None:
    code, other = 'code="attachment-never-used"', 'code="volume-in-use-elsewhere"'
    assert written(tmp_path / "d.prom", run()) == {
        f'findings{{cell="cell1",{code},disposition="remove",shard="1/1"}}': 1,
        f'findings{{cell="a \\"b\\"\\\\c\\nd",{code},disposition="wait",shard="1/1"}}': 1,
        f'findings{{cell="cell1",{other},disposition="report",shard="1/1"}}': 1,
        'urgent_findings{shard="1/1"}': 1,
        f'removed_total{{{code},shard="1/1"}}': 1,
        'kept_total{reason="refused",shard="1/1"}': 1,
        'run_complete{shard="1/1"}': 0,
        'last_success_timestamp_seconds{shard="1/1"}': 0,
        'run_duration_seconds{shard="1/1"}': 1.5,
        'oldest_finding_age_seconds{shard="1/1"}': 3 * 3600,
        f'oldest_finding_age_by_code_seconds{{{code},shard="1/1"}}': 3 * 3600,
        f'oldest_finding_age_by_code_seconds{{{other},shard="1/1"}}': 3600,
        'lock_age_seconds{shard="1/1"}': 1.2,
        'max_removals{shard="1/1"}': 25,
    }


def test_a_run_that_did_not_read_everything_resolves_no_alert(tmp_path: Path) -> None:
    path = tmp_path / "d.prom"
    before = written(path, run()), written_by_audit(path, run())
    blind = Run(run_id="r", not_checked=["every server: Cinder does not answer"])
    once, twice = written(path, blind), written_by_audit(path, blind)
    for prefix, old, new in (("", before[0], once), ("audit_", before[1], twice)):
        names = tuple(prefix + each for each in OF_FINDINGS)
        kept = {key: value for key, value in old.items() if key.startswith(names)}
        assert len(kept) == 7
        assert kept.items() <= new.items()
    complete = written(path, Run(run_id="r"))
    assert complete['urgent_findings{shard="1/1"}'] == 0
    assert not [key for key in complete if key.startswith("findings")]


def test_a_finding_that_a_partial_run_sees_counts(tmp_path: Path) -> None:
    written(tmp_path / "d.prom", Run(run_id="r"))
    partial = run()
    partial.miss(["every server of cell2: no answer"])
    assert written(tmp_path / "d.prom", partial)['urgent_findings{shard="1/1"}'] == 1


def test_every_sample_of_an_audit(tmp_path: Path) -> None:
    known = run()
    known.outcomes = {}
    code, other = 'code="attachment-never-used"', 'code="volume-in-use-elsewhere"'
    assert written_by_audit(tmp_path / "d.prom", known, succeeded=True) == {
        f'audit_findings{{cell="cell1",{code},disposition="remove"}}': 2,
        f'audit_findings{{cell="a \\"b\\"\\\\c\\nd",{code},disposition="wait"}}': 1,
        f'audit_findings{{cell="cell1",{other},disposition="report"}}': 1,
        "audit_urgent_findings": 1,
        "audit_run_complete": 1,
        "audit_last_success_timestamp_seconds": NOW.timestamp(),
        "audit_run_duration_seconds": 1.5,
        "audit_oldest_finding_age_seconds": 9 * 3600,
        f"audit_oldest_finding_age_by_code_seconds{{{code}}}": 9 * 3600,
        f"audit_oldest_finding_age_by_code_seconds{{{other}}}": 3600,
    }


def test_a_sweep_and_an_audit_in_one_file_keep_each_others_metrics(tmp_path: Path) -> None:
    path = tmp_path / "d.prom"
    swept = written(path, run(), succeeded=True)
    audited = written_by_audit(path, run(), succeeded=True)
    assert {name: value for name, value in audited.items() if not name.startswith("audit_")} == swept
    # A later run of either without success moves no time of the other.
    assert written_by_audit(path, run()) == audited
    assert written(path, Run(run_id="r")).items() >= {
        (name, value) for name, value in audited.items() if name.startswith("audit_")
    }
    assert promtool("check", "metrics", given=path.read_text()) == (0, "")


def test_counters_and_the_last_success_outlive_a_run(tmp_path: Path) -> None:
    path = tmp_path / "d.prom"
    assert written(path, Run(run_id="r"), succeeded=True)['run_complete{shard="1/1"}'] == 1
    written(path, run())
    again = written(path, run())
    assert again['removed_total{code="attachment-never-used",shard="1/1"}'] == 2
    assert again['kept_total{reason="refused",shard="1/1"}'] == 2
    assert again['last_success_timestamp_seconds{shard="1/1"}'] == NOW.timestamp()
    clean = written(path, Run(run_id="r"))
    assert [each for each in clean if each.startswith(("findings", "oldest_finding_age_by_code"))] == []
    assert clean['urgent_findings{shard="1/1"}'] == 0
    assert clean['oldest_finding_age_seconds{shard="1/1"}'] == 0


def test_a_run_that_is_kept_out_tells_of_the_lock_and_spoils_nothing(tmp_path: Path) -> None:
    path = tmp_path / "d.prom"
    before = written(path, run())
    with path.open("a") as text:
        text.write("dedangle_spoilt many\n")
    metrics.write_lock_age(path, 7200, WHOLE)
    assert samples(path) == {**before, 'lock_age_seconds{shard="1/1"}': 7200}
    assert promtool("check", "metrics", given=path.read_text()) == (0, "")
    metrics.write_lock_age(tmp_path / "new.prom", 7200, Shard(2, 3))
    assert samples(tmp_path / "new.prom") == {'lock_age_seconds{shard="2/3"}': 7200}
    # The clock was set back meanwhile.
    metrics.write_lock_age(tmp_path / "new.prom", -90, Shard(2, 3))
    assert samples(tmp_path / "new.prom") == {'lock_age_seconds{shard="2/3"}': 0}


def test_a_file_that_makes_no_sense_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "d.prom"
    path.write_bytes(b"dedangle_removed_total many\n\xff\n")
    assert 'run_complete{shard="2/3"}' in written(path, Run(run_id="r"), shard=Shard(2, 3))
    # What begins with a dot is not collected.
    assert [path] == [each for each in tmp_path.iterdir() if each.name[0] != "."]
    assert path.stat().st_mode & 0o777 == 0o644


def test_no_label_is_an_id(tmp_path: Path) -> None:
    written(tmp_path / "d.prom", run())
    text = (tmp_path / "d.prom").read_text()
    assert SERVER not in text
    assert not re.search(r"volume-\d", text)


def test_promtool_has_nothing_to_say(tmp_path: Path) -> None:
    path = tmp_path / "d.prom"
    written(path, run(), succeeded=True)
    assert promtool("check", "metrics", given=path.read_text()) == (0, "")
