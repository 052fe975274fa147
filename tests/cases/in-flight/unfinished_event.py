# SPDX-License-Identifier: Apache-2.0
"""F: an attachment was reserved, but an event of an action has not finished"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("wait",)
DOORS = ("sweep", "command")


def build(stage: Stage) -> Planted:
    server, volume = stage.server(), stage.user.volume()
    stage.breaks.reserve_attachment(server.id, volume)
    stage.leave_event_open(server)
    return Planted((server.id,), frozenset(("in-flight", each) for each in (*server.volumes, volume)))
