# SPDX-License-Identifier: Apache-2.0
"""DN-3d: the volume of a lost attachment is in use by another server on the same host"""

from cases.stage import Planted, Stage
from dedangle.lab.config import COMPUTE_HOST

DISPOSITIONS = ("report",)
WAY_OUT = (
    "openstack server stop SERVER",
    'until [ "$(openstack server show -f value -c status SERVER)" = SHUTOFF ]; do sleep 2; done',
    "dedangle cleanup SERVER --no-host --execute",
)


def build(stage: Stage) -> Planted:
    server, other = stage.server(2), stage.server(0)
    stage.breaks.lose_attachment(server.id, server.volumes[1])
    stage.breaks.attach_unknown(other.id, server.volumes[1], COMPUTE_HOST)
    return Planted((server.id,), frozenset({("volume-in-use-elsewhere", server.volumes[1])}))
