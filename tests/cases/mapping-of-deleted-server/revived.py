# SPDX-License-Identifier: Apache-2.0
"""DN-1: the server is deleted, and an attach that was late left its mappings"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("remove",)
REMOVED_BY = ("sweep", "command")
DOORS = ("sweep", "command")
WAY_OUT = ("dedangle cleanup SERVER --execute",)


def build(stage: Stage) -> Planted:
    server = stage.server()
    stage.breaks.mapping_of_deleted_server(server.id)
    return Planted(
        (server.id,),
        frozenset(("mapping-of-deleted-server", volume) for volume in server.volumes),
        mappings=stage.mapping_keys(server.id, server.volumes),
    )
