# SPDX-License-Identifier: Apache-2.0
"""The metrics of a run for node_exporter's textfile collector. No label is an id, to keep the series few."""

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
_AUDIT = "audit_"
"""The prefix of an audit's metrics, so that an audit does not count as a sweep."""
# (type, help) of each metric that a sweep and an audit write.
_OF_RUN = {
    "findings": ("gauge", "Findings that remain after the last {run}, by code, cell and disposition."),
    "urgent_findings": (
        "gauge",
        "Findings that remain after the last {run} and let two servers write to one volume.",
    ),
    "run_complete": ("gauge", "1 if the last {run} read everything and no change failed or was refused, else 0."),
    "last_success_timestamp_seconds": (
        "gauge",
        "Time of the last {run} that read everything and made all its changes; 0 if there was none.",
    ),
    "run_duration_seconds": ("gauge", "Duration of the last {run}, in seconds."),
    "oldest_finding_age_seconds": (
        "gauge",
        "Age of the oldest finding that remains after the last {run}, in seconds; 0 if none remains.",
    ),
    "oldest_finding_age_by_code_seconds": (
        "gauge",
        "Age of the oldest finding that remains after the last {run}, in seconds, by code.",
    ),
}
_OF_FINDINGS = (
    "findings",
    "urgent_findings",
    "oldest_finding_age_seconds",
    "oldest_finding_age_by_code_seconds",
)
# Of each metric, in the order in which they are written.
_METRICS = {
    **{name: (kind, text.format(run="sweep")) for name, (kind, text) in _OF_RUN.items()},
    "removed_total": ("counter", "Removals, by code of the finding."),
    "kept_total": ("counter", "Removals that failed, were refused, or whose row had changed, by reason."),
    "lock_age_seconds": (
        "gauge",
        "How long the last sweep held the lock, in seconds; if another run holds it, for how long. 0 without a lock.",
    ),
    "max_removals": ("gauge", "Removal limit of one sweep (max_removals)."),
    **{_AUDIT + name: (kind, text.format(run="audit")) for name, (kind, text) in _OF_RUN.items()},
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
    """Replace the metrics of the sweep in the file, and add to its counters; raise OSError if that fails.

    `seconds` is the duration of the run, `lock_age` how many seconds it held the lock. A reader always sees the metrics
    of one complete run.
    """
    labels = {"shard": str(shard)}
    with files.locked(path):
        before = _samples(path)
        samples = {
            key: value for key, value in before.items() if key[0].endswith("_total") or key[0].startswith(_AUDIT)
        }
        samples |= _of_run(run, before, succeeded, seconds, now, **labels)
        samples[_key("lock_age_seconds", **labels)] = round(lock_age, 3)
        samples[_key("max_removals", **labels)] = max_removals
        counters = Counter(_key("removed_total", code=finding.code, **labels) for finding in run.removed())
        counters.update(
            _key("kept_total", reason=outcome.result.value, **labels)
            for outcome in run.outcomes.values()
            if not outcome.result.is_done
        )
        for key, count in counters.items():
            samples[key] = samples.get(key, 0) + count
        _replace(path, samples)


def write_audit(path: Path, run: Run, *, succeeded: bool, seconds: float, now: datetime) -> None:
    """Replace the metrics of the audit in the file, and keep those of a sweep; raise OSError if that fails.

    `seconds` is the duration of the run.
    """
    with files.locked(path):
        before = _samples(path)
        samples = {key: value for key, value in before.items() if not key[0].startswith(_AUDIT)}
        _replace(path, samples | _of_run(run, before, succeeded, seconds, now, _AUDIT))


def write_lock_age(path: Path, lock_age: float, shard: Shard) -> None:
    """Write how many seconds another run has held the lock, and keep all other metrics; raise OSError."""
    with files.locked(path):
        age = {_key("lock_age_seconds", shard=str(shard)): max(lock_age, 0)}
        _replace(path, _samples(path) | age)


def _replace(path: Path, samples: dict[_Key, float]) -> None:
    registry = CollectorRegistry()
    registry.register(_Samples(samples))
    # node_exporter runs as another user and must be able to read the file; write_to_textfile would set no mode.
    files.replace(path, [generate_latest(registry)], mode=0o644)


class _Samples(Collector):
    """The metrics of a file: those of this run and of earlier runs."""

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


def _of_run(
    run: Run,
    before: dict[_Key, float],
    succeeded: bool,
    seconds: float,
    now: datetime,
    prefix: str = "",
    **labels: str,
) -> dict[_Key, float]:
    """Return the samples of _OF_RUN.

    Counts and ages of findings do not fall in a run that did not read everything: what it did not see may still be
    there, and an alert must not resolve because of an outage.
    """
    left = run.left()
    ages: dict[str, float] = {}
    for finding in left:
        if finding.first_seen:
            age = (now - finding.first_seen).total_seconds()
            ages[finding.code] = max(age, ages.get(finding.code, 0))
    last_success = before.get(_key(f"{prefix}last_success_timestamp_seconds", **labels), 0)
    fixed: dict[str, float] = {
        "urgent_findings": sum(finding.is_urgent for finding in left),
        "run_complete": run.complete,
        "last_success_timestamp_seconds": now.timestamp() if succeeded else last_success,
        "run_duration_seconds": round(seconds, 3),
        "oldest_finding_age_seconds": max(ages.values(), default=0),
    }
    samples = {_key(prefix + name, **labels): value for name, value in fixed.items()}
    for code, age in ages.items():
        samples[_key(f"{prefix}oldest_finding_age_by_code_seconds", code=code, **labels)] = age
    samples.update(Counter(_of_finding(finding, prefix, labels) for finding in left))
    if run.not_checked:
        of_findings = [prefix + name for name in _OF_FINDINGS]
        for key, value in before.items():
            if key[0] in of_findings and labels.items() <= dict(key[1]).items():
                samples[key] = max(value, samples.get(key, 0))
    return samples


def _of_finding(finding: Finding, prefix: str, labels: dict[str, str]) -> _Key:
    disposition = finding.disposition.value
    return _key(f"{prefix}findings", code=finding.code, cell=finding.cell or "none", disposition=disposition, **labels)


def _key(metric: str, **labels: str) -> _Key:
    return metric, tuple(sorted(labels.items()))


def _samples(path: Path) -> dict[_Key, float]:
    """Return the samples of the earlier run. A counter whose line is missing or invalid restarts at 0."""
    samples: dict[_Key, float] = {}
    try:
        lines = path.read_text(errors="replace").split("\n")
    except FileNotFoundError:
        return samples
    for line in lines:
        # The parser stops at the first invalid line, so it gets one line at a time.
        with contextlib.suppress(ValueError):
            for metric in text_string_to_metric_families(line):
                for sample in metric.samples:
                    samples[_key(sample.name.removeprefix(_PREFIX), **sample.labels)] = sample.value
    return samples
