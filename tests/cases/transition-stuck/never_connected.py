# SPDX-License-Identifier: Apache-2.0
"""M-5: an attach ended after both sides had named its attachment, and before anything was connected"""

from cases.stage import Planted, Stage, lately

DISPOSITIONS = ("report",)
WAY_OUT = (
    "openstack volume set --state in-use --attached VOLUME",
    "openstack server remove volume SERVER VOLUME",
)


def build(stage: Stage) -> Planted:
    server = stage.server()
    stage.breaks.lose_attachment(server.id, server.volumes[1])
    reserved = stage.breaks.reserve_attachment(server.id, server.volumes[1])
    stage.edit_mapping(server, server.volumes[1], attachment_id=reserved, connection_info=None)
    stage.edit_volume(server.volumes[1], updated_at=lately())
    return Planted((server.id,), frozenset({("transition-stuck", server.volumes[1])}))
