# SPDX-License-Identifier: Apache-2.0
"""DC-1: the server was deleted while Cinder answered 500"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("remove",)
REMOVED_BY = ("sweep", "command")
DOORS = ("sweep", "command")
WAY_OUT = ("dedangle cleanup SERVER --execute",)


def build(stage: Stage) -> Planted:
    server = stage.server()
    attachments = frozenset(stage.attachment(server, volume) for volume in server.volumes)
    stage.breaks.delete_server_while_cinder_fails(server.id)
    return Planted(
        (server.id,),
        frozenset(("attachment-of-deleted-server", volume) for volume in server.volumes),
        attachments=attachments,
    )
