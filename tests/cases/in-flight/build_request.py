# SPDX-License-Identifier: Apache-2.0
"""F: an attachment was reserved, but the server is still a build request"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("wait",)
DOORS = ("sweep", "command")


def build(stage: Stage) -> Planted:
    server, volume = stage.server(), stage.user.volume()
    stage.breaks.reserve_attachment(server.id, volume)
    stage.insert("nova_api", "build_requests", instance_uuid=server.id, project_id="p")
    return Planted((server.id,), frozenset(("in-flight", each) for each in (*server.volumes, volume)))
