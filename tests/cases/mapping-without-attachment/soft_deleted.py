# SPDX-License-Identifier: Apache-2.0
"""DN-3b: an attachment was deleted behind Nova's back; the server is SOFT_DELETED and waits for its reclaim"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
DOORS = ("sweep", "command")
REMOVED_BY = ("command",)
WAY_OUT = ("dedangle cleanup SERVER --no-host --execute",)


def build(stage: Stage) -> Planted:
    server = stage.server(2)
    stage.breaks.lose_attachment(server.id, server.volumes[1])
    stage.user.stop(server.id)
    stage.edit_server(server, vm_state="soft-delete", deleted_at="2026-01-01 00:00:00.000000")
    return Planted(
        (server.id,),
        frozenset({("mapping-without-attachment", server.volumes[1])}),
        mappings=stage.mapping_keys(server.id, server.volumes[1:2]),
    )
