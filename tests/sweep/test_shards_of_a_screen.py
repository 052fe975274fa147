# SPDX-License-Identifier: Apache-2.0
"""The shards of a fleet find together what one sweep of it finds, and each counts its own attachments."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any, cast

from dedangle.core import packing, planning
from dedangle.core.records import Reading
from dedangle.core.run import Run
from dedangle.core.sharding import WHOLE, Shard
from dedangle.reconcile import sweep
from dedangle.reconcile.screen import Gathered, Screen

IDS = [str(uuid.UUID(int=number)) for number in range(1, 41)]


ATTACHED = packing.status_byte("attached")
# Every fourth server lost its attachment, every fifth has another's, two attachments have no server.
LINKS = [((f"A{each}", each, f"V{each}"), ATTACHED) for each in IDS]
ATTACHMENTS = [
    *(
        ((f"A{each}", IDS[number - 1] if number % 5 == 0 else each, f"V{each}"), ATTACHED)
        for number, each in enumerate(IDS)
        if number % 4
    ),
    *(((f"N{number}", None, "W"), ATTACHED) for number in range(2)),
]


class Nova:
    """One cell, in one reading."""

    cell0 = None

    def __init__(self, reading: Reading[packing.Page]) -> None:
        self._reading = reading

    def bulk(self) -> dict[str, Iterator[Reading[packing.Page]]]:
        return {"cell1": iter([self._reading])}


class Cinder:
    """Cinder's side, in one page of each kind."""

    def __init__(self, *pages: packing.Page) -> None:
        self._pages = pages

    def bulk(self, *_: object) -> list[Iterator[Reading[packing.Page]]]:
        return [iter([Reading(self._pages)])]

    def why_stale(self, _: datetime) -> None:
        return None

    def multiattach(self, volume_ids: Collection[str]) -> Reading[str]:
        return Reading(tuple(volume_ids))

    def doubt(self) -> str:
        return ""

    def clock(self) -> datetime:
        return datetime.min


def screen(shard: Shard) -> Screen:
    servers = packing.Servers("cell1", packing.rows_of(((each,), b"") for each in IDS))
    nova = Nova(Reading((servers, packing.Links("cell1", packing.rows_of(LINKS)))))
    cinder = Cinder(
        packing.Attachments(packing.rows_of(ATTACHMENTS)),
        packing.QuietVolumes(packing.rows_of(((f"V{each}",), b"") for each in IDS)),
    )
    with Gathered(shard) as gathered:
        run, say = Run(run_id="r"), lambda *_: None
        found = sweep.read_screen(cast(Any, nova), cast(Any, cinder), cast(Any, cinder), run, say, gathered)
    assert found
    return found


def test_shards_find_together_what_one_sweep_finds() -> None:
    whole = screen(WHOLE)
    parts = [screen(Shard(index, 3)) for index in (1, 2, 3)]
    assert 10 < len(whole.suspects) < 40
    assert sorted(each for part in parts for each in part.suspects) == sorted(whole.suspects)
    assert [len(part.ownerless) for part in parts] == [2, 0, 0]
    totals: Counter[planning.Scope] = sum((part.totals for part in parts), Counter())
    assert totals == whole.totals
    assert len(ATTACHMENTS) == totals[planning.RUN]
    assert sum(part.servers for part in parts) == whole.servers == len(IDS)
