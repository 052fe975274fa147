# SPDX-License-Identifier: Apache-2.0
"""DC-2b: a deleted server left an attachment through the host where another server uses the volume"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
DOORS = ("sweep", "command")
OUTSIDE = "which of the servers keeps the volume, and when the other one may be interrupted"


def build(stage: Stage) -> Planted:
    server, user_of_it = stage.server(), stage.server()
    left = stage.attachment(server, server.volumes[1])
    root = stage.attachment(server, server.volumes[0])
    stage.breaks.delete_server_while_cinder_fails(server.id)
    stage.cloud.nova_user.cinder("DELETE", f"/attachments/{root}", expect=200)
    stage.edit_attachment(left, volume_id=user_of_it.volumes[1])
    return Planted((server.id,), frozenset({("attachment-shares-host", user_of_it.volumes[1])}))
