# SPDX-License-Identifier: Apache-2.0
"""F: an attachment was reserved, but the server has not reached its cell"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("wait",)
DOORS = ("sweep", "command")


def build(stage: Stage) -> Planted:
    server, volume = stage.server(), stage.user.volume()
    stage.breaks.reserve_attachment(server.id, volume)
    stage.edit("nova_api", "instance_mappings", {"instance_uuid": server.id}, cell_id=None)
    return Planted((server.id,), frozenset(("in-flight", each) for each in (*server.volumes, volume)))
