# SPDX-License-Identifier: Apache-2.0
"""DC-7: an attach failed in Cinder, Nova forgot it, and the server is stopped"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
REMOVED_BY = ("command",)
WAY_OUT = ("dedangle cleanup SERVER --execute",)


def build(stage: Stage) -> Planted:
    server, volume = stage.server(), stage.user.volume()
    attachment = stage.breaks.reserve_attachment(server.id, volume)
    stage.edit_attachment(attachment, attach_status="error_attaching")
    stage.user.stop(server.id)
    return Planted((server.id,), frozenset({("attachment-failed", volume)}), attachments=frozenset({attachment}))
