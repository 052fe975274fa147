# SPDX-License-Identifier: Apache-2.0
"""DC-6: a client of Cinder attached a volume to a living server without a connector, and Nova never knew of it"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
REMOVED_BY = ("command",)
WAY_OUT = ("dedangle cleanup SERVER --execute",)


def build(stage: Stage) -> Planted:
    server, volume = stage.server(), stage.user.volume()
    attachment = stage.breaks.reserve_attachment(server.id, volume)
    stage.user.user.cinder("POST", f"/attachments/{attachment}/action", {"os-complete": {}}, expect=204)
    return Planted(
        (server.id,),
        frozenset({("attachment-unknown-to-nova", volume)}),
        attachments=frozenset({attachment}),
    )
