# SPDX-License-Identifier: Apache-2.0
"""DN-4: an attach ended before Cinder was asked, on a running server"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("remove",)
REMOVED_BY = ("sweep", "command", "reboot")
WAY_OUT = ("dedangle cleanup SERVER --execute",)


def build(stage: Stage) -> Planted:
    server, volume = stage.server(), stage.user.volume()
    stage.breaks.mapping_never_attached(server.id, volume)
    return Planted(
        (server.id,),
        frozenset({("mapping-never-attached", volume)}),
        mappings=stage.mapping_keys(server.id, [volume]),
    )
