# SPDX-License-Identifier: Apache-2.0
"""M-2: the disk may be in the guest, and the mapping does not name its attachment"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
WAY_OUT = (
    "openstack server stop SERVER",
    'until [ "$(openstack server show -f value -c status SERVER)" = SHUTOFF ]; do sleep 2; done',
    "dedangle cleanup SERVER --relink --execute",
    "openstack server start SERVER",
)


def build(stage: Stage) -> Planted:
    server = stage.server()
    stage.edit_mapping(server, server.volumes[1], attachment_id=None, connection_info=None)
    return Planted((server.id,), frozenset({("attach-half-made", server.volumes[1])}))
