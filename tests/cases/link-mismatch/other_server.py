# SPDX-License-Identifier: Apache-2.0
"""M-3: the attachment that a mapping names belongs to another server"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
OUTSIDE = "which of the two sides is right"


def build(stage: Stage) -> Planted:
    server, other = stage.server(), stage.server(0)
    stage.edit_attachment(stage.attachment(server, server.volumes[1]), instance_uuid=other.id)
    return Planted((server.id,), frozenset({("link-mismatch", server.volumes[1])}))
