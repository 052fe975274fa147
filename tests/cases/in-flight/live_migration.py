# SPDX-License-Identifier: Apache-2.0
"""F: an attachment was reserved, but a live migration is running"""

import uuid

from cases.stage import Planted, Stage

DISPOSITIONS = ("wait",)
DOORS = ("sweep", "command")


def build(stage: Stage) -> Planted:
    server, volume = stage.server(), stage.user.volume()
    stage.breaks.reserve_attachment(server.id, volume)
    moves = {"status": "running", "migration_type": "live-migration", "deleted": 0, "hidden": False}
    stage.insert("nova_cell1", "migrations", instance_uuid=server.id, uuid=str(uuid.uuid4()), **moves)
    return Planted((server.id,), frozenset(("in-flight", each) for each in (*server.volumes, volume)))
