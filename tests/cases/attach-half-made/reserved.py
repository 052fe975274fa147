# SPDX-License-Identifier: Apache-2.0
"""DN-4b: an attach ended after Cinder had reserved its attachment"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
REMOVED_BY = ("command",)
WAY_OUT = ("dedangle cleanup SERVER --execute",)


def build(stage: Stage) -> Planted:
    server, volume = stage.server(), stage.user.volume()
    stage.breaks.mapping_never_attached(server.id, volume)
    attachment = stage.breaks.reserve_attachment(server.id, volume)
    return Planted(
        (server.id,),
        frozenset({("attach-half-made", volume)}),
        mappings=stage.mapping_keys(server.id, [volume]),
        attachments=frozenset({attachment}),
    )
