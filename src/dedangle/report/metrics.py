# SPDX-License-Identifier: Apache-2.0
"""What a run came to, for node_exporter's textfile collector; no label is an id, of which there is no end."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from dedangle import files
from dedangle.core.decisions import Finding
from dedangle.core.run import Run
from dedangle.core.sharding import Shard

_Key = tuple[str, tuple[tuple[str, str], ...]]
"""The name of a sample without its prefix, and its labels in the order of their names."""

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
    with files.locked(path):
        before = _samples(path)
        removed = {finding.key for finding in run.removed()}
        left = [finding for finding in run.listed() if finding.key not in removed]
        seen = [each.first_seen for each in left if each.first_seen]
        last_success = "last_success_timestamp_seconds"
        fixed: dict[str, float] = {
            "run_complete": run.complete,
            last_success: now.timestamp() if succeeded else before.get(_key(last_success, shard=str(shard)), 0),
            "run_duration_seconds": round(seconds, 3),
            "oldest_finding_age_seconds": max((now - min(seen)).total_seconds(), 0) if seen else 0,
            "lock_age_seconds": round(lock_age, 3),
            "max_removals": max_removals,
        }
        samples = {_key(name, shard=str(shard)): value for name, value in fixed.items()}
        samples.update(Counter(_of_finding(each, shard) for each in left))
        counters = Counter(_key("removed_total", shard=str(shard), code=finding.code) for finding in run.removed())
        counters.update(
            _key("kept_total", shard=str(shard), reason=outcome.result.value)
            for outcome in run.outcomes.values()
            if not outcome.result.is_done
        )
        samples.update((key, value) for key, value in before.items() if key[0].endswith("_total"))
        for key, count in counters.items():
            samples[key] = samples.get(key, 0) + count
        _replace(path, samples)


def write_lock_age(path: Path, lock_age: float, shard: Shard) -> None:
    """Say in the file for how many seconds another run has held the lock, and leave all else as is; raises OSError."""
    with files.locked(path):
        age = {_key("lock_age_seconds", shard=str(shard)): max(lock_age, 0)}
        _replace(path, _samples(path) | age)


def _replace(path: Path, samples: dict[_Key, float]) -> None:
    registry = CollectorRegistry()
    registry.register(_Samples(samples))
    # The collector reads it as another user: write_to_textfile sets no mode.
    files.replace(path, generate_latest(registry), mode=0o644)


class _Samples(Collector):
    """The metrics of a file, which are those of this run and of the runs before."""

    def __init__(self, samples: dict[_Key, float]) -> None:
        self._samples = samples

    def collect(self) -> Iterator[Metric]:
        for name, (kind, text) in _METRICS.items():
            own = sorted(key for key in self._samples if key[0] == name)
            if own:
                metric = Metric(_PREFIX + name.removesuffix("_total"), text, kind)
                for key in own:
                    metric.add_sample(_PREFIX + name, dict(key[1]), self._samples[key])
                yield metric


def _of_finding(finding: Finding, shard: Shard) -> _Key:
    disposition = finding.disposition.value
    return _key("findings", shard=str(shard), code=finding.code, cell=finding.cell or "none", disposition=disposition)


def _key(metric: str, **labels: str) -> _Key:
    return metric, tuple(sorted(labels.items()))


def _samples(path: Path) -> dict[_Key, float]:
    """Return what the run before wrote; a line that is missing or invalid starts its counter anew, as it may."""
    samples: dict[_Key, float] = {}
    try:
        lines = path.read_text(errors="replace").split("\n")
    except FileNotFoundError:
        return samples
    for line in lines:
        # The parser ends at the first invalid line, so it gets one at a time.
        with contextlib.suppress(ValueError):
            for metric in text_string_to_metric_families(line):
                for sample in metric.samples:
                    samples[_key(sample.name.removeprefix(_PREFIX), **sample.labels)] = sample.value
    return samples
