# SPDX-License-Identifier: Apache-2.0
"""M-2: the disk may be in the guest, and the mapping does not name its attachment"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)


def build(stage: Stage) -> Planted:
    server = stage.server()
    stage.edit_mapping(server, server.volumes[1], attachment_id=None, connection_info=None)
    return Planted((server.id,), frozenset({("attach-half-made", server.volumes[1])}))
