# SPDX-License-Identifier: Apache-2.0
"""K-1: a healthy server"""

from cases.stage import Planted, Stage

DISPOSITIONS: tuple[str, ...] = ()


def build(stage: Stage) -> Planted:
    server = stage.server(2)
    return Planted((server.id,), frozenset())
