# SPDX-License-Identifier: Apache-2.0
"""DN-3c: an attachment was deleted behind Nova's back; the server runs"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
REMOVED_BY = ("reboot",)
WAY_OUT = ("dedangle cleanup SERVER --restart --no-host --execute",)


def build(stage: Stage) -> Planted:
    server = stage.server(2)
    stage.breaks.lose_attachment(server.id, server.volumes[1])
    return Planted(
        (server.id,),
        frozenset({("mapping-without-attachment", server.volumes[1])}),
        mappings=stage.mapping_keys(server.id, server.volumes[1:2]),
    )
