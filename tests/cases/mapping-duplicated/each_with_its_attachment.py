# SPDX-License-Identifier: Apache-2.0
"""M-8: one volume is mapped twice to a server, and each mapping has an attachment of its own"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
OUTSIDE = "which of the connected mappings the guest uses"


def build(stage: Stage) -> Planted:
    server = stage.server()
    volume = server.volumes[1]
    second = stage.breaks.reserve_attachment(server.id, volume)
    stage.edit_attachment(second, attach_status="attached", attached_host="lab-compute-1")
    mapping = stage.breaks.mapping_never_attached(server.id, volume)
    stage.edit("nova_cell1", "block_device_mapping", {"uuid": mapping}, attachment_id=second, connection_info="{}")
    return Planted((server.id,), frozenset({("mapping-duplicated", volume)}))
