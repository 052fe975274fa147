# SPDX-License-Identifier: Apache-2.0
"""DN-5: a volume was reset and deleted behind Nova's back; the server is stopped"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
REMOVED_BY = ("command", "reboot")
NEWEST = "$(openstack volume list --all-projects -f value -c ID | head -n 1)"
WAY_OUT = (
    f'[ "$(openstack volume show -f value -c created_at "{NEWEST}")" \\> TIME ] && '
    "dedangle cleanup SERVER --no-host --execute",
)


def build(stage: Stage) -> Planted:
    server = stage.server(2)
    stage.breaks.delete_volume_behind(server.volumes[1])
    stage.user.stop(server.id)
    return Planted(
        (server.id,),
        frozenset({("mapping-of-missing-volume", server.volumes[1])}),
        mappings=stage.mapping_keys(server.id, server.volumes[1:2]),
    )
