# SPDX-License-Identifier: Apache-2.0
"""K-2: a volume attached to a shelved-offloaded server: attached, without a connector"""

from cases.stage import Planted, Stage

DISPOSITIONS: tuple[str, ...] = ()
DOORS = ("sweep", "command")


def build(stage: Stage) -> Planted:
    server, volume = stage.server(), stage.user.volume()
    stage.user.shelve_offload(server.id)
    stage.user.attach(server.id, volume)
    return Planted((server.id,), frozenset())
