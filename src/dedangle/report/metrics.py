# SPDX-License-Identifier: Apache-2.0
"""What a run came to, for node_exporter's textfile collector; no label is an id, of which there is no end."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from dedangle.core.records import Finding, Result
from dedangle.core.run import Run
from dedangle.core.sharding import Shard

_Sample = tuple[str, float]
"""The name with its labels, and the value."""

_PREFIX = "dedangle_"
# (type, help) of each metric, in the order in which they are written.
_METRICS = {
    "findings": ("gauge", "Findings that the last run left, by code, cell and disposition."),
    "removed_total": ("counter", "Removals, by code of the finding."),
    "kept_total": ("counter", "Removals that were tried and not done, by reason."),
    "run_complete": ("gauge", "Whether the last run read all that it had to and failed in nothing."),
    "last_success_timestamp_seconds": ("gauge", "When a run last ended with all done; 0: never."),
    "run_duration_seconds": ("gauge", "How long the last run took."),
    "oldest_finding_age_seconds": ("gauge", "For how long the oldest finding that was left has been seen; 0: none."),
    "lock_age_seconds": (
        "gauge",
        "For how long the lock was held by the last run, or is by the one that keeps others out; 0: not taken.",
    ),
    "max_removals": ("gauge", "The fuse: how many removals one run may do."),
}


def write(
    path: Path,
    run: Run,
    *,
    shard: Shard,
    succeeded: bool,
    max_removals: int,
    seconds: float,
    lock_age: float,
    now: datetime,
) -> None:
    """Replace the file by this run's metrics and add to the counters that it holds; raises OSError.

    seconds is how long the run took, and lock_age for how many of them it held the lock. Whoever reads the file at any
    moment reads all of one run.
    """
    with _locked(path):
        before = _samples(path)
        removed = {each.key for each in run.removed()}
        left = [each for each in run.listed() if each.key not in removed]
        seen = [each.first_seen for each in left if each.first_seen]
        last_success = "last_success_timestamp_seconds"
        fixed: dict[str, float] = {
            "run_complete": run.complete,
            last_success: now.timestamp() if succeeded else before.get(_name(last_success, shard=str(shard)), 0),
            "run_duration_seconds": round(seconds, 3),
            "oldest_finding_age_seconds": max((now - min(seen)).total_seconds(), 0) if seen else 0,
            "lock_age_seconds": round(lock_age, 3),
            "max_removals": max_removals,
        }
        samples = {_name(name, shard=str(shard)): value for name, value in fixed.items()}
        samples.update(Counter(_of_finding(each, shard) for each in left))
        counters = Counter(_name("removed_total", shard=str(shard), code=each.code) for each in run.removed())
        counters.update(
            _name("kept_total", shard=str(shard), reason=outcome.result.value)
            for outcome in run.outcomes.values()
            if outcome.result not in (Result.REMOVED, Result.RELINKED)
        )
        samples.update((name, value) for name, value in before.items() if name.partition("{")[0].endswith("_total"))
        for name, count in counters.items():
            samples[name] = samples.get(name, 0) + count
        _replace(path, samples)


def write_lock_age(path: Path, lock_age: float, shard: Shard) -> None:
    """Say in the file for how many seconds another run has held the lock, and leave all else as is; raises OSError."""
    with _locked(path):
        age = {_name("lock_age_seconds", shard=str(shard)): max(lock_age, 0)}
        _replace(path, _samples(path) | age)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let nobody else replace the file between reading and replacing: a run that is kept out may be at it, too."""
    # The collector passes over a name that begins with a dot.
    with path.with_name(f".{path.name}.lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _replace(path: Path, samples: dict[str, float]) -> None:
    # The collector takes every *.prom for metrics.
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text("".join(_lines(samples)))
    draft.chmod(0o644)
    draft.replace(path)


def _lines(samples: dict[str, float]) -> Iterator[str]:
    for metric, (kind, text) in _METRICS.items():
        own = sorted(each for each in samples if each.partition("{")[0] == _PREFIX + metric)
        if own:
            yield f"# HELP {_PREFIX}{metric} {text}\n# TYPE {_PREFIX}{metric} {kind}\n"
            yield from (f"{name} {float(samples[name])!r}\n" for name in own)


def _of_finding(finding: Finding, shard: Shard) -> str:
    disposition = finding.disposition.value
    return _name("findings", shard=str(shard), code=finding.code, cell=finding.cell or "none", disposition=disposition)


def _name(metric: str, **labels: str) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{_PREFIX}{metric}{{{pairs}}}"


def _escaped(value: str) -> str:
    # A cell's name is what an administrator typed.
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _samples(path: Path) -> dict[str, float]:
    """What the run before wrote; what is not there, or makes no sense, begins its counters anew, as they may."""
    samples: dict[str, float] = {}
    try:
        lines = path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return samples
    for line in lines:
        name, _, value = line.rpartition(" ")
        if name.startswith(_PREFIX):
            with contextlib.suppress(ValueError):
                samples[name] = float(value)
    return samples
