# SPDX-License-Identifier: Apache-2.0
"""DN-4: an attach has not asked Cinder yet, so young that it may be an attach on its way"""

from datetime import timedelta

from cases.stage import Planted, Stage

DISPOSITIONS = ("wait",)


def build(stage: Stage) -> Planted:
    server, volume = stage.server(), stage.user.volume()
    stage.breaks.mapping_never_attached(server.id, volume, timedelta(minutes=10))
    return Planted((server.id,), frozenset({("mapping-never-attached", volume)}))
