# SPDX-License-Identifier: Apache-2.0
"""M-5: an unshelve failed: the server is shelved-offloaded, and its mapping names an attachment in error_attaching"""

from cases.stage import Planted, Stage, lately

DISPOSITIONS = ("report",)
DOORS = ("sweep", "command")
WAY_OUT = (
    "openstack --os-volume-api-version 3.27 volume attachment delete ATTACHMENT",
    "dedangle cleanup SERVER --reattach --execute",
)


def build(stage: Stage) -> Planted:
    server = stage.server()
    stage.user.shelve_offload(server.id)
    stage.edit_attachment(stage.attachment(server, server.volumes[1]), attach_status="error_attaching")
    stage.edit_volume(server.volumes[1], updated_at=lately())
    return Planted((server.id,), frozenset({("transition-stuck", server.volumes[1])}))
