# SPDX-License-Identifier: Apache-2.0
"""M-5: the mapping of a SOFT_DELETED server names a reserved attachment, so that a restore would not find its volume"""

from cases.stage import Planted, Stage, lately

DISPOSITIONS = ("report",)
DOORS = ("sweep", "command")
WAY_OUT = (
    "openstack --os-volume-api-version 3.27 volume attachment delete ATTACHMENT",
    "ssh HOST nova-manage volume_attachment get_connector --json > connector.json",
    "dedangle cleanup SERVER --reattach --connector connector.json --execute",
)


def build(stage: Stage) -> Planted:
    server = stage.server()
    stage.user.stop(server.id)
    attachment = stage.attachment(server, server.volumes[1])
    stage.edit_attachment(attachment, attach_status="reserved", connector=None, connection_info=None)
    stage.edit_server(server, vm_state="soft-delete", deleted_at="2026-01-01 00:00:00.000000")
    stage.edit_volume(server.volumes[1], updated_at=lately())
    return Planted((server.id,), frozenset({("transition-stuck", server.volumes[1])}))
