# SPDX-License-Identifier: Apache-2.0
"""DC-2b: an attachment that was never completed, beside the one in use: Cinder does not show its host"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
WAY_OUT = (
    "openstack server stop SERVER",
    'until [ "$(openstack server show -f value -c status SERVER)" = SHUTOFF ]; do sleep 2; done',
    "openstack --os-volume-api-version 3.27 volume attachment delete ATTACHMENT",
    "ssh HOST nova-manage volume_attachment get_connector --json > connector.json",
    "nova-manage volume_attachment refresh SERVER VOLUME connector.json",
    "openstack server start SERVER",
)


def build(stage: Stage) -> Planted:
    server = stage.server()
    twin = stage.breaks.reserve_attachment(server.id, server.volumes[1])
    stage.edit_attachment(twin, attach_status="attaching", connector='{"host": "x"}')
    return Planted((server.id,), frozenset({("attachment-shares-host", server.volumes[1])}))
