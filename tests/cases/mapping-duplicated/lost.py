# SPDX-License-Identifier: Apache-2.0
"""M-8: one volume is mapped twice to a server, and Cinder has the attachment of one mapping only"""

import uuid

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
REMOVED_BY = ("command",)
WAY_OUT = ("dedangle cleanup SERVER --no-host --execute",)


def build(stage: Stage) -> Planted:
    server = stage.server()
    own = stage.mapping_keys(server.id, server.volumes)
    mapping = stage.breaks.mapping_never_attached(server.id, server.volumes[1])
    lost = {"attachment_id": str(uuid.uuid4()), "connection_info": "{}"}
    stage.edit("nova_cell1", "block_device_mapping", {"uuid": mapping}, **lost)
    stage.user.stop(server.id)
    second = stage.mapping_keys(server.id, server.volumes) - own
    return Planted((server.id,), frozenset({("mapping-duplicated", server.volumes[1])}), mappings=second)
