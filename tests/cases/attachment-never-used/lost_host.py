# SPDX-License-Identifier: Apache-2.0
"""F: an attachment was reserved, and the server's host has been down for two days"""

from datetime import timedelta

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
DOORS = ("sweep", "command")
OUTSIDE = "whether the host comes back, which has been down for more than a day"


def build(stage: Stage) -> Planted:
    server, volume = stage.server(), stage.user.volume()
    stage.breaks.reserve_attachment(server.id, volume)
    host = stage.dead_host(timedelta(days=2))
    stage.edit_server(server, host=host)
    for each in server.volumes:
        stage.edit_attachment(stage.attachment(server, each), attached_host=host)
    return Planted((server.id,), frozenset({("attachment-never-used", volume)}))
