# SPDX-License-Identifier: Apache-2.0
"""With --since the list follows the order in which the rows changed."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from runs import finding, run_of

from dedangle.core.records import BlockDeviceMapping

BACKUP = datetime(2026, 11, 22, 21, 30, tzinfo=timezone.utc)


def mapping(changed_at: datetime | None) -> BlockDeviceMapping:
    return BlockDeviceMapping(
        id=1,
        uuid=None,
        cell="cell1",
        server_id="s",
        volume_id="v",
        attachment_id="a",
        has_connection_info=True,
        changed_at=changed_at,
    )


def test_the_oldest_change_is_listed_first_and_an_unknown_one_last() -> None:
    moments = [BACKUP + timedelta(hours=2), None, BACKUP + timedelta(hours=1)]
    findings = [
        finding("mapping-without-attachment", number, mapping=mapping(moment)) for number, moment in enumerate(moments)
    ]
    listed = run_of(*findings, oldest_first=True).listed()
    assert [each.changed_at for each in listed] == [moments[2], moments[0], None]
