# SPDX-License-Identifier: Apache-2.0
"""DC-4: an attachment was reserved, and Nova never learnt of it"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("remove",)
REMOVED_BY = ("sweep", "command", "reboot")
WAY_OUT = ("dedangle cleanup SERVER --execute",)


def build(stage: Stage) -> Planted:
    server, volume = stage.server(), stage.user.volume()
    attachment = stage.breaks.reserve_attachment(server.id, volume)
    return Planted(
        (server.id,),
        frozenset({("attachment-never-used", volume)}),
        attachments=frozenset({attachment}),
    )
