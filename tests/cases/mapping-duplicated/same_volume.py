# SPDX-License-Identifier: Apache-2.0
"""M-8: one volume is mapped twice to a server, once without ever being connected"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
REMOVED_BY = ("command",)
WAY_OUT = ("dedangle cleanup SERVER --execute",)


def build(stage: Stage) -> Planted:
    server = stage.server()
    own = stage.mapping_keys(server.id, server.volumes)
    stage.breaks.mapping_never_attached(server.id, server.volumes[1])
    second = stage.mapping_keys(server.id, server.volumes) - own
    return Planted((server.id,), frozenset({("mapping-duplicated", server.volumes[1])}), mappings=second)
