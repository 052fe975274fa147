# SPDX-License-Identifier: Apache-2.0
"""F: an attachment was reserved, and an event of the server's last action has been open for two days"""

from datetime import datetime, timedelta, timezone

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
DOORS = ("sweep", "command")
WAY_OUT = ("openstack server reboot --hard --wait SERVER",)


def build(stage: Stage) -> Planted:
    server, volume = stage.server(), stage.user.volume()
    stage.breaks.reserve_attachment(server.id, volume)
    stage.leave_event_open(server, begun=datetime.now(timezone.utc).replace(tzinfo=None) - timedelta(days=2))
    first = min(*server.volumes, volume)
    return Planted((server.id,), frozenset({("work-never-ends", first), ("attachment-never-used", volume)}))
