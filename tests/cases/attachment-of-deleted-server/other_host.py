# SPDX-License-Identifier: Apache-2.0
"""DC-1: an evacuated server was deleted, and an attachment is left on the host that it was evacuated from"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
DOORS = ("sweep", "command")
WAY_OUT = (
    "ssh elsewhere 'virsh -c qemu:///system list && ! virsh -c qemu:///system dominfo SERVER' && "
    "dedangle cleanup SERVER --volume VOLUME --no-host --execute",
)


def build(stage: Stage) -> Planted:
    server = stage.server(0)
    left = stage.attachment(server, server.volumes[0])
    stage.breaks.delete_server_while_cinder_fails(server.id)
    stage.edit_attachment(left, attached_host=stage.left_host(), connector='{"host": "elsewhere"}')
    return Planted((server.id,), frozenset({("attachment-of-deleted-server", server.volumes[0])}))
