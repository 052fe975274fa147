# SPDX-License-Identifier: Apache-2.0
"""M-8: one volume is mapped twice to a server"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)


def build(stage: Stage) -> Planted:
    server = stage.server()
    stage.breaks.mapping_never_attached(server.id, server.volumes[1])
    return Planted((server.id,), frozenset({("mapping-duplicated", server.volumes[1])}))
