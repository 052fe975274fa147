# SPDX-License-Identifier: Apache-2.0
"""DN-3c: an administrator reset the volume to available and detached; the server runs"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
REMOVED_BY = ("reboot",)
WAY_OUT = ("dedangle cleanup SERVER --restart --no-host --execute",)


def build(stage: Stage) -> Planted:
    server = stage.server(2)
    stage.breaks.reset_status(server.volumes[2])
    return Planted(
        (server.id,),
        frozenset({("mapping-without-attachment", server.volumes[2])}),
        mappings=stage.mapping_keys(server.id, server.volumes[2:3]),
    )
