# SPDX-License-Identifier: Apache-2.0
"""What Prometheus is told of a run."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from dedangle.core.decisions import Disposition, Finding, Outcome, Remedy, Result, Verdict
from dedangle.core.run import Run
from dedangle.core.sharding import WHOLE, Shard
from dedangle.report import metrics
from promtool import promtool

NOW = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
SERVER = "8f6b5a1e-0c5d-4c1f-9d7e-2f3a4b5c6d7e"


def finding(number: int, **fields: Any) -> Finding:
    given = {
        "code": "attachment-never-used",
        "verdict": Verdict.DANGLING,
        "remedy": Remedy.REMOVE_ATTACHMENT,
        "disposition": Disposition.REMOVE,
        "server_id": SERVER,
        "volume_id": f"volume-{number}",
        "reason": "",
        "cell": "cell1",
        "first_seen": NOW - timedelta(hours=number),
    }
    return Finding(**{**given, **fields})


def run() -> Run:
    """Three findings: one is removed, one is refused, one waits in a cell with an odd name."""
    known = Run(run_id="r")
    removed, refused = finding(9), finding(2)
    known.add([removed, refused, finding(3, disposition=Disposition.WAIT, cell='a "b"\\c\nd')])
    known.outcomes = {
        removed.key: Outcome(result=Result.REMOVED),
        refused.key: Outcome(result=Result.REFUSED, detail="409"),
    }
    return known


def written(path: Path, known: Run, *, succeeded: bool = False, shard: Shard = WHOLE) -> dict[str, float]:
    metrics.write(path, known, shard=shard, succeeded=succeeded, max_removals=25, seconds=1.5, lock_age=1.2, now=NOW)
    return samples(path)


def samples(path: Path) -> dict[str, float]:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0].removeprefix("dedangle_"): float(line.rpartition(" ")[2]) for line in lines}


def test_every_sample(tmp_path: Path) -> None:
    code = 'code="attachment-never-used"'
    assert written(tmp_path / "d.prom", run()) == {
        f'findings{{cell="cell1",{code},disposition="remove",shard="1/1"}}': 1,
        f'findings{{cell="a \\"b\\"\\\\c\\nd",{code},disposition="wait",shard="1/1"}}': 1,
        f'removed_total{{{code},shard="1/1"}}': 1,
        'kept_total{reason="refused",shard="1/1"}': 1,
        'run_complete{shard="1/1"}': 0,
        'last_success_timestamp_seconds{shard="1/1"}': 0,
        'run_duration_seconds{shard="1/1"}': 1.5,
        'oldest_finding_age_seconds{shard="1/1"}': 3 * 3600,
        'lock_age_seconds{shard="1/1"}': 1.2,
        'max_removals{shard="1/1"}': 25,
    }


def test_counters_and_the_last_success_outlive_a_run(tmp_path: Path) -> None:
    path = tmp_path / "d.prom"
    assert written(path, Run(run_id="r"), succeeded=True)['run_complete{shard="1/1"}'] == 1
    written(path, run())
    again = written(path, run())
    assert again['removed_total{code="attachment-never-used",shard="1/1"}'] == 2
    assert again['kept_total{reason="refused",shard="1/1"}'] == 2
    assert again['last_success_timestamp_seconds{shard="1/1"}'] == NOW.timestamp()
    clean = written(path, Run(run_id="r"))
    assert [each for each in clean if each.startswith("findings")] == []
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
    assert "volume-" not in text


def test_promtool_has_nothing_to_say(tmp_path: Path) -> None:
    path = tmp_path / "d.prom"
    written(path, run(), succeeded=True)
    assert promtool("check", "metrics", given=path.read_text()) == (0, "")
