# SPDX-License-Identifier: Apache-2.0
"""DN-2: a server that never found a host lost the attachments of its volumes, and another server has its data volume"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
DOORS = ("sweep", "command")
REMOVED_BY = ("command",)
WAY_OUT = ("dedangle cleanup SERVER --execute",)


def build(stage: Stage) -> Planted:
    server, other = stage.server_without_host(), stage.server(0)
    stage.breaks.lose_attachment(server.id, server.volumes[1])
    stage.breaks.attach_unknown(other.id, server.volumes[1], "lab-compute-1")
    return Planted(
        (server.id,),
        frozenset({("mapping-never-launched", server.volumes[1])}),
        mappings=stage.mapping_keys(server.id, server.volumes[1:]),
    )
