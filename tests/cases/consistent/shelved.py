# SPDX-License-Identifier: Apache-2.0
"""K-2: a shelved-offloaded server, whose attachments stay reserved"""

from cases.stage import Planted, Stage

DISPOSITIONS: tuple[str, ...] = ()
DOORS = ("sweep", "command")


def build(stage: Stage) -> Planted:
    server = stage.server()
    stage.user.shelve_offload(server.id)
    return Planted((server.id,), frozenset())
