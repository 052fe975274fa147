# SPDX-License-Identifier: Apache-2.0
"""The shards of a fleet find together what one sweep of it finds, and each counts its own attachments."""

from __future__ import annotations

import uuid
from collections import Counter
from typing import Any, cast

from dedangle.core import planning
from dedangle.core.records import Attachment, Link, Reading, Volume
from dedangle.core.sharding import WHOLE, Shard
from dedangle.reconcile import fleet
from dedangle.report.account import Account

IDS = [str(uuid.UUID(int=number)) for number in range(1, 41)]


class Systems:
    """Both sides of a fleet: every fourth server lost its attachment, every fifth has another's, two have no server."""

    links: tuple[Link, ...] = tuple(
        Link(server_id=each, volume_id=f"V{each}", attachment_id=f"A{each}", cell="cell1", project_id="p")
        for each in IDS
    )
    attachments: tuple[Attachment, ...] = (
        *(
            Attachment(
                id=f"A{each}",
                server_id=IDS[number - 1] if number % 5 == 0 else each,
                volume_id=f"V{each}",
                status="attached",
            )
            for number, each in enumerate(IDS)
            if number % 4
        ),
        *(Attachment(id=f"N{number}", server_id=None, volume_id="W", status="attached") for number in range(2)),
    )

    def all_links(self) -> Reading[Link]:
        return Reading(self.links)

    def all_attachments(self) -> Reading[Attachment]:
        return Reading(self.attachments)

    def all_volumes(self) -> Reading[Volume]:
        return Reading(tuple(Volume(id=each.volume_id, status="in-use") for each in self.links))

    def doubt(self) -> str:
        return ""


def screen(shard: Shard) -> fleet.Screen:
    systems = cast(Any, Systems())
    found = fleet.read_screen(systems, systems, systems, Account(run_id="r"), lambda *_: None, shard)
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
    assert len(Systems.attachments) == totals[planning.RUN]
