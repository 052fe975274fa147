# SPDX-License-Identifier: Apache-2.0
"""DN-3b: an attachment was deleted behind Nova's back; the server is shelved, and not offloaded"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
DOORS = ("sweep", "command")
REMOVED_BY = ("command",)
WAY_OUT = ("dedangle cleanup SERVER --no-host --execute",)


def build(stage: Stage) -> Planted:
    server = stage.server(2)
    stage.breaks.lose_attachment(server.id, server.volumes[1])
    stage.user.stop(server.id)
    stage.edit_server(server, vm_state="shelved")
    return Planted(
        (server.id,),
        frozenset({("mapping-without-attachment", server.volumes[1])}),
        mappings=stage.mapping_keys(server.id, server.volumes[1:2]),
    )
