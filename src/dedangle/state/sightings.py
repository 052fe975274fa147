# SPDX-License-Identifier: Apache-2.0
"""When each finding was first seen, for a grace period across runs, and when each suspect was last checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from dedangle import files
from dedangle.core import times
from dedangle.core.decisions import Disposition, Finding, FindingKey


class _Memory(NamedTuple):
    first_seen: dict[FindingKey, datetime]
    last_checked: dict[str, datetime]
    removals: dict[FindingKey, datetime]
    """When each finding that can be removed, now or after the grace period, was last judged."""
    unchanged: dict[FindingKey, datetime]
    """When a change was first given up as changed-meanwhile, although the rows have stayed as they are since."""


class Sightings:
    """The sightings in `sightings.json` of the state directory. A file that cannot be read counts as empty."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "sightings.json"
        self._memory: _Memory | None = None

    def first_seen(self, key: FindingKey) -> datetime | None:
        """Return when the finding was first seen; None if it is new."""
        return self._remembered.first_seen.get(key)

    def server_ids(self) -> set[str]:
        """Return the servers that have sightings."""
        memory = self._remembered
        return {*memory.last_checked, *(key.server_id for key in memory.first_seen)}

    def unchanged_since(self, key: FindingKey) -> datetime | None:
        """Return when a run first gave up a change of the finding as changed-meanwhile; None if none did."""
        return self._remembered.unchanged.get(key)

    def keep_unchanged(self, keys: Collection[FindingKey], now: datetime) -> None:
        """Remember what was given up as changed-meanwhile; raises OSError."""
        with files.locked(self._path):
            old = self._load_again()
            self._write(old._replace(unchanged={**dict.fromkeys(keys, now), **old.unchanged}))

    def unjudged_removals(self, server_ids: Collection[str], seen_by: datetime) -> int:
        """Return how many removable findings of the servers were first seen at or before the moment."""
        memory = self._remembered
        return sum(
            key.server_id in server_ids and memory.first_seen.get(key, seen_by) <= seen_by
            for key in memory.removals.keys() - memory.unchanged.keys()
        )

    def least_recent_first(self, server_ids: Iterable[str], now: datetime) -> list[str]:
        """Return the servers in the order in which they were last checked; servers that never were come first."""
        checked = self._remembered.last_checked

        def age(server_id: str) -> tuple[float, str]:
            moment = checked.get(server_id)
            # A time in the future, from a clock that was ahead, must not keep the server at the end of the list.
            return (moment.timestamp() if moment and moment <= now else 0.0, server_id)

        return sorted(server_ids, key=age)

    def remember(
        self, findings: Iterable[Finding], *, tried: Collection[str], known: Callable[[str], bool], now: datetime
    ) -> None:
        """Store the findings of this run and the servers that it tried to check; raise OSError if that fails.

        For a server whose state is now known, older sightings are dropped.
        """
        self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        # Shards and an audit may share the file, and none of them may lose what another one wrote.
        with files.locked(self._path):
            old = self._load_again()
            findings = tuple(findings)
            kept, removals = (
                {key: moment for key, moment in moments.items() if not known(key.server_id)}
                for moments in (old.first_seen, old.removals)
            )
            kept |= {finding.key: finding.first_seen for finding in findings if finding.first_seen}
            removable = (
                each for each in findings if each.disposition.is_change or each.disposition is Disposition.WAIT
            )
            removals |= {finding.key: now for finding in removable}
            waiting = {server_id: moment for server_id, moment in old.last_checked.items() if not known(server_id)}
            found = {finding.key for finding in findings}
            unchanged = {
                key: moment for key, moment in old.unchanged.items() if key in found or not known(key.server_id)
            }
            self._write(_Memory(kept, {**waiting, **dict.fromkeys(tried, now)}, removals, unchanged))

    def _write(self, memory: _Memory) -> None:
        self._memory = memory
        # Part by part, because a cloud with ten thousand findings has megabytes.
        parts = json.JSONEncoder(indent=0).iterencode(
            {name: _texts(moments) for name, moments in memory._asdict().items()}
        )
        files.replace(self._path, (part.encode() for part in parts), mode=0o640)

    @property
    def _remembered(self) -> _Memory:
        # Loaded only when needed, so that a run that has waited for another run sees that run's sightings.
        if self._memory is None:
            self._memory = self._load()
        return self._memory

    def _load_again(self) -> _Memory:
        # Another run may have written it. The earlier copy goes first: it takes 1 kB for each finding.
        self._memory = None
        return self._load()

    def _load(self) -> _Memory:
        # Without its sightings a finding only waits for its grace period again.
        try:
            entries = json.loads(self._path.read_text())
            first_seen, last_checked, removals = (_moments(entries[name]) for name in _Memory._fields[:3])
            # A release before this one did not write it.
            unchanged = _moments(entries.get("unchanged", {}))
            keys = {text: FindingKey.parse(text) for text in {*first_seen, *removals, *unchanged}}
            return _Memory(_by_key(first_seen, keys), last_checked, _by_key(removals, keys), _by_key(unchanged, keys))
        except (OSError, ValueError, AttributeError, TypeError, KeyError):
            return _Memory({}, {}, {}, {})


def _moments(texts: dict[str, str]) -> dict[str, datetime]:
    return {name: times.parse(text) for name, text in texts.items()}


def _by_key(moments: dict[str, datetime], keys: Mapping[str, FindingKey]) -> dict[FindingKey, datetime]:
    return {keys[text]: moment for text, moment in moments.items()}


def _texts(moments: Mapping[Any, datetime]) -> dict[str, str]:
    return {name: times.utc(moment) for name, moment in sorted((str(key), each) for key, each in moments.items())}
