# SPDX-License-Identifier: Apache-2.0
"""P: the root disk's attachment is lost; the server is in ERROR"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("protect",)
DOORS = ("sweep", "command")
WAY_OUT = (
    "openstack server stop SERVER",
    'until [ "$(openstack server show -f value -c status SERVER)" = SHUTOFF ]; do sleep 2; done',
    "ssh HOST nova-manage volume_attachment get_connector --json > connector.json",
    "dedangle cleanup SERVER --reattach --connector connector.json --execute",
    "openstack server start SERVER",
)


def build(stage: Stage) -> Planted:
    server = stage.server()
    stage.breaks.lose_attachment(server.id, server.volumes[0])
    reset = {"os-resetState": {"state": "error"}}
    stage.cloud.admin.nova("POST", f"/servers/{server.id}/action", reset, expect=202)
    return Planted((server.id,), frozenset({("mapping-without-attachment", server.volumes[0])}))
