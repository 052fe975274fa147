# SPDX-License-Identifier: Apache-2.0
"""F: an attachment was reserved, but the server's host is down"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("wait",)
DOORS = ("sweep", "command")


def build(stage: Stage) -> Planted:
    server, volume = stage.server(), stage.user.volume()
    stage.breaks.reserve_attachment(server.id, volume)
    stage.edit_server(server, host=stage.dead_host())
    return Planted((server.id,), frozenset(("in-flight", each) for each in (*server.volumes, volume)))
