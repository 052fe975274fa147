# SPDX-License-Identifier: Apache-2.0
"""DC-2b: an unshelve died while it connected the volume through an attachment that no mapping names"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
DOORS = ("sweep", "command")
WAY_OUT = ("openstack --os-volume-api-version 3.27 volume attachment delete ATTACHMENT",)


def build(stage: Stage) -> Planted:
    server = stage.server()
    stage.user.shelve_offload(server.id)
    twin = stage.breaks.reserve_attachment(server.id, server.volumes[1])
    stage.edit_attachment(twin, attach_status="attaching", connector='{"host": "x"}')
    return Planted((server.id,), frozenset({("attachment-shares-host", server.volumes[1])}))
