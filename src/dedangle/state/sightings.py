# SPDX-License-Identifier: Apache-2.0
"""When each finding was first seen, so that a grace period spans runs."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable
from datetime import datetime
from pathlib import Path

from dedangle.core.records import Finding


class Sightings:
    """Kept in `sightings.json` of the state directory; a file that cannot be read counts as no sightings at all."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "sightings.json"
        self._seen = self._load()

    def first_seen(self, key: str) -> datetime | None:
        return self._seen.get(key)

    def remember(self, findings: Iterable[Finding], *, checked: Collection[str]) -> None:
        """Keep what was found now and forget what is gone from the servers that were checked; raises OSError."""
        found = {each.key: each.first_seen for each in findings if each.first_seen}
        kept = {key: seen for key, seen in self._load().items() if key.split()[1] not in checked}
        self._seen = {**kept, **found}
        self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        draft.write_text(json.dumps({key: seen.isoformat() for key, seen in sorted(self._seen.items())}, indent=0))
        draft.replace(self._path)

    def _load(self) -> dict[str, datetime]:
        # Lost sightings only make a finding wait for its grace period once more.
        try:
            entries = json.loads(self._path.read_text())
            return {key: datetime.fromisoformat(seen) for key, seen in entries.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}
