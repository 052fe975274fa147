# SPDX-License-Identifier: Apache-2.0
"""DC-1: a deleted server's attachment of a volume that Cinder has deleted too"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
DOORS = ("sweep", "command")
OUTSIDE = "how Cinder forgets the attachment of a volume that it does not have"


def build(stage: Stage) -> Planted:
    server = stage.server(0)
    stage.breaks.delete_server_while_cinder_fails(server.id)
    stage.edit_volume(server.volumes[0], status="deleted", deleted=True)
    return Planted((server.id,), frozenset({("attachment-of-deleted-server", server.volumes[0])}))
