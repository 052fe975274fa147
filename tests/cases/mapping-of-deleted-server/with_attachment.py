# SPDX-License-Identifier: Apache-2.0
"""DN-1b: the server is deleted, and both sides keep their rows"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("remove",)
REMOVED_BY = ("sweep", "command")
DOORS = ("sweep", "command")
WAY_OUT = ("dedangle cleanup SERVER --execute",)


def build(stage: Stage) -> Planted:
    server = stage.server()
    live = stage.mapping_keys(server.id, server.volumes)
    attachments = frozenset(stage.attachment(server, volume) for volume in server.volumes)
    stage.breaks.delete_server_while_cinder_fails(server.id)
    for key in live:
        stage.edit("nova_cell1", "block_device_mapping", {"id": int(key.split("/")[1])}, deleted=0, deleted_at=None)
    codes = ("mapping-of-deleted-server", "attachment-of-deleted-server")
    return Planted(
        (server.id,),
        frozenset((code, volume) for code in codes for volume in server.volumes),
        mappings=live,
        attachments=attachments,
    )
