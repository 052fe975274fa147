# SPDX-License-Identifier: Apache-2.0
"""DN-3c: an attachment was deleted behind Nova's back; the server is in ERROR"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
REMOVED_BY = ("reboot",)
WAY_OUT = (
    "openstack server stop SERVER",
    'until [ "$(openstack server show -f value -c status SERVER)" = SHUTOFF ]; do sleep 2; done',
    "dedangle cleanup SERVER --no-host --execute",
    "openstack server start SERVER",
)


def build(stage: Stage) -> Planted:
    server = stage.server()
    stage.breaks.lose_attachment(server.id, server.volumes[1])
    reset = {"os-resetState": {"state": "error"}}
    stage.cloud.admin.nova("POST", f"/servers/{server.id}/action", reset, expect=202)
    return Planted(
        (server.id,),
        frozenset({("mapping-without-attachment", server.volumes[1])}),
        mappings=stage.mapping_keys(server.id, server.volumes[1:]),
    )
