# SPDX-License-Identifier: Apache-2.0
"""DN-1: a mapping of a deleted server names a lost attachment, and another attachment is left"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("remove", "report")
REMOVED_BY = ("sweep", "command")
DOORS = ("sweep", "command")
WAY_OUT = ("dedangle cleanup SERVER --execute",)


def build(stage: Stage) -> Planted:
    server = stage.server(2)
    left = stage.attachment(server, server.volumes[2])
    stage.breaks.lose_attachment(server.id, server.volumes[0])
    stage.breaks.lose_attachment(server.id, server.volumes[1])
    live = stage.mapping_keys(server.id, server.volumes[1:2])
    stage.breaks.delete_server_while_cinder_fails(server.id)
    for key in live:
        stage.edit("nova_cell1", "block_device_mapping", {"id": int(key.split("/")[1])}, deleted=0, deleted_at=None)
    return Planted(
        (server.id,),
        frozenset(
            {
                ("mapping-of-deleted-server", server.volumes[1]),
                ("attachment-of-deleted-server", server.volumes[2]),
            }
        ),
        mappings=live,
        attachments=frozenset({left}),
    )
