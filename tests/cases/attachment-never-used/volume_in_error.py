# SPDX-License-Identifier: Apache-2.0
"""DC-4: an attachment was reserved, and Nova never learnt of it, but the volume is in error, which removing the attachment would hide"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)


def build(stage: Stage) -> Planted:
    server, volume = stage.server(), stage.user.volume()
    stage.breaks.reserve_attachment(server.id, volume)
    stage.edit_volume(volume, status="error")
    return Planted((server.id,), frozenset({("attachment-never-used", volume)}))
