# SPDX-License-Identifier: Apache-2.0
"""DC-1: the server was deleted while Cinder answered 500, and the volume could not be deleted after that"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
DOORS = ("sweep", "command")
WAY_OUT = (
    "openstack volume set --state in-use VOLUME",
    "dedangle cleanup SERVER --execute",
    "openstack volume set --state error_deleting VOLUME",
)


def build(stage: Stage) -> Planted:
    server = stage.server(0)
    stage.breaks.delete_server_while_cinder_fails(server.id)
    stage.edit_volume(server.volumes[0], status="error_deleting")
    return Planted((server.id,), frozenset({("attachment-of-deleted-server", server.volumes[0])}))
