# SPDX-License-Identifier: Apache-2.0
"""DC-1: an attachment was reserved for a server that is deleted"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("remove",)
REMOVED_BY = ("sweep", "command")
DOORS = ("sweep", "command")
WAY_OUT = ("dedangle cleanup SERVER --execute",)


def build(stage: Stage) -> Planted:
    server, volume = stage.server(), stage.user.volume()
    attachment = stage.breaks.reserve_attachment(server.id, volume)
    stage.user.delete(server.id)
    return Planted(
        (server.id,),
        frozenset({("attachment-of-deleted-server", volume)}),
        attachments=frozenset({attachment}),
    )
