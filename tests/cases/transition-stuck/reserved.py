# SPDX-License-Identifier: Apache-2.0
"""M-5: a rebuild or a resize died after it had named a reserved attachment, and nothing connected it"""

from cases.stage import Planted, Stage, lately

DISPOSITIONS = ("report",)
WAY_OUT = (
    "openstack server stop SERVER",
    'until [ "$(openstack server show -f value -c status SERVER)" = SHUTOFF ]; do sleep 2; done',
    "ssh HOST nova-manage volume_attachment get_connector --json > connector.json",
    "nova-manage volume_attachment refresh SERVER VOLUME connector.json",
    "openstack server start SERVER",
)


def build(stage: Stage) -> Planted:
    server = stage.server()
    stage.breaks.lose_attachment(server.id, server.volumes[1])
    reserved = stage.breaks.reserve_attachment(server.id, server.volumes[1])
    stage.edit_mapping(server, server.volumes[1], attachment_id=reserved)
    stage.edit_volume(server.volumes[1], updated_at=lately())
    return Planted((server.id,), frozenset({("transition-stuck", server.volumes[1])}))
