# SPDX-License-Identifier: Apache-2.0
"""DN-3b: the server has lost the attachment of one volume, and another volume is reserved for it unknown to Nova"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
DOORS = ("sweep", "command")
REMOVED_BY = ("command",)
WAY_OUT = ("dedangle cleanup SERVER --no-host --execute",)


def build(stage: Stage) -> Planted:
    server, volume = stage.server(), stage.user.volume()
    stage.user.stop(server.id)
    stage.breaks.lose_attachment(server.id, server.volumes[1])
    reserved = stage.breaks.reserve_attachment(server.id, volume)
    return Planted(
        (server.id,),
        frozenset({("mapping-without-attachment", server.volumes[1]), ("attachment-never-used", volume)}),
        mappings=stage.mapping_keys(server.id, server.volumes[1:]),
        attachments=frozenset({reserved}),
    )
