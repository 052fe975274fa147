# SPDX-License-Identifier: Apache-2.0
"""M-3: the attachment that a mapping names is of another volume"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
OUTSIDE = "which of the two sides is right"


def build(stage: Stage) -> Planted:
    server, other = stage.server(), stage.user.volume()
    stage.edit_attachment(stage.attachment(server, server.volumes[1]), volume_id=other)
    return Planted((server.id,), frozenset(("link-mismatch", each) for each in (server.volumes[1], other)))
