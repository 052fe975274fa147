# SPDX-License-Identifier: Apache-2.0
"""DN-4: an attach that has not called Cinder yet, and may still be in progress"""

from datetime import timedelta

from cases.stage import Planted, Stage

DISPOSITIONS = ("wait",)


def build(stage: Stage) -> Planted:
    server, volume = stage.server(), stage.user.volume()
    stage.breaks.mapping_never_attached(server.id, volume, timedelta(minutes=10))
    return Planted((server.id,), frozenset({("mapping-never-attached", volume)}))
