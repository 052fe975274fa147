# SPDX-License-Identifier: Apache-2.0
"""Choose the mappings of other servers for a control read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from dedangle.core.records import Link

_KEPT, _PER_PROJECT = 8, 2
# The greatest difference in primary keys between a mapping and its neighbours.
NEAR = 20_000


def of_many_projects(links: Iterable[Link]) -> tuple[Link, ...]:
    """Return a few of the links, from as many projects as possible."""
    kept: list[Link] = []
    projects: Counter[str | None] = Counter()
    for link in links:
        projects[link.project_id] += 1
        if projects[link.project_id] <= _PER_PROJECT and len(kept) < _KEPT:
            kept.append(link)
    return tuple(kept)
