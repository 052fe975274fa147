# SPDX-License-Identifier: Apache-2.0
"""M-4: a live migration died: the mapping names the attachment of the other host"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)


def build(stage: Stage) -> Planted:
    server = stage.server()
    there = stage.breaks.reserve_attachment(server.id, server.volumes[1])
    stage.edit_attachment(there, attach_status="attached", attached_host="elsewhere", connector='{"host": "elsewhere"}')
    stage.edit_mapping(server, server.volumes[1], attachment_id=there)
    return Planted((server.id,), frozenset({("migration-half-done", server.volumes[1])}))
