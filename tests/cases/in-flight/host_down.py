# SPDX-License-Identifier: Apache-2.0
"""F: an attachment was reserved, but the server's host is down"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("wait",)
DOORS = ("sweep", "command")


def build(stage: Stage) -> Planted:
    server, volume = stage.server(), stage.user.volume()
    stage.breaks.reserve_attachment(server.id, volume)
    seen = {"last_seen_up": "2026-01-01 00:00:00.000000", "created_at": "2026-01-01 00:00:00.000000"}
    ghost = f"ghost-{server.id[:8]}"
    stage.insert(
        "nova_cell1", "services", host=ghost, binary="nova-compute", topic="compute", report_count=0, deleted=0, **seen
    )
    stage.edit_server(server, host=ghost)
    return Planted((server.id,), frozenset(("in-flight", each) for each in (*server.volumes, volume)))
