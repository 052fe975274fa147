# SPDX-License-Identifier: Apache-2.0
"""F: an attachment was reserved, but one of the server's volumes is being worked on"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("wait",)
DOORS = ("sweep", "command")


def build(stage: Stage) -> Planted:
    server, volume = stage.server(), stage.user.volume()
    stage.breaks.reserve_attachment(server.id, volume)
    stage.edit_volume(volume, status="backing-up", previous_status="in-use")
    return Planted((server.id,), frozenset(("in-flight", each) for each in (*server.volumes, volume)))
