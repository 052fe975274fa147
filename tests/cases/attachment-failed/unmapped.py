# SPDX-License-Identifier: Apache-2.0
"""DC-7: an attach failed in Cinder, and Nova forgot it"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
WAY_OUT = ("dedangle cleanup SERVER --restart --execute",)


def build(stage: Stage) -> Planted:
    server, volume = stage.server(), stage.user.volume()
    attachment = stage.breaks.reserve_attachment(server.id, volume)
    stage.edit_attachment(attachment, attach_status="error_attaching")
    return Planted((server.id,), frozenset({("attachment-failed", volume)}))
