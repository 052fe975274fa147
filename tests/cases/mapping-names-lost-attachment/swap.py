# SPDX-License-Identifier: Apache-2.0
"""M-1: a volume swap died: the guest is on the new volume, whose attachment no mapping names"""

from cases.stage import Planted, Stage
from dedangle.lab.config import COMPUTE_HOST

DISPOSITIONS = ("report",)
OUTSIDE = "which of the two volumes of a swap the guest writes to"


def build(stage: Stage) -> Planted:
    server, new = stage.server(), stage.user.volume()
    stage.breaks.lose_attachment(server.id, server.volumes[1])
    stage.breaks.attach_unknown(server.id, new, COMPUTE_HOST)
    return Planted(
        (server.id,),
        frozenset({("mapping-names-lost-attachment", server.volumes[1]), ("attachment-unknown-to-nova", new)}),
    )
