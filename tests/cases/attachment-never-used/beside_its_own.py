# SPDX-License-Identifier: Apache-2.0
"""DC-3: a second attachment was reserved beside the one that is in use"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("remove",)
REMOVED_BY = ("sweep", "command", "reboot")
WAY_OUT = ("dedangle cleanup SERVER --execute",)


def build(stage: Stage) -> Planted:
    server = stage.server()
    attachment = stage.breaks.reserve_attachment(server.id, server.volumes[1])
    return Planted(
        (server.id,),
        frozenset({("attachment-never-used", server.volumes[1])}),
        attachments=frozenset({attachment}),
    )
