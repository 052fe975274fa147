# SPDX-License-Identifier: Apache-2.0
"""K-1: one volume attached to two servers: each pair is judged by itself"""

from cases.stage import Planted, Stage

DISPOSITIONS: tuple[str, ...] = ()


def build(stage: Stage) -> Planted:
    one, two, volume = stage.server(0), stage.server(0), stage.multiattach_volume()
    stage.user.attach(one.id, volume)
    stage.user.attach(two.id, volume)
    return Planted((one.id, two.id), frozenset())
