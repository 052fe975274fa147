# SPDX-License-Identifier: Apache-2.0
"""DC-2: an attachment on a host that the server has left"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
OUTSIDE = "whether the host that the server has left still has the disk; dedangle on that host proves it"


def build(stage: Stage) -> Planted:
    server = stage.server()
    left = stage.breaks.reserve_attachment(server.id, server.volumes[1])
    stage.edit_attachment(left, attach_status="attached", attached_host="elsewhere", connector='{"host": "elsewhere"}')
    return Planted((server.id,), frozenset({("attachment-left-by-migration", server.volumes[1])}))
