# SPDX-License-Identifier: Apache-2.0
"""DC-5: Nova deleted its mapping, Cinder kept the attachment; the server runs"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
REMOVED_BY = ("reboot",)
WAY_OUT = ("dedangle cleanup SERVER --restart --execute",)


def build(stage: Stage) -> Planted:
    server = stage.server()
    left = stage.attachment(server, server.volumes[1])
    (key,) = stage.mapping_keys(server.id, server.volumes[1:])
    stage.edit_mapping(server, server.volumes[1], deleted=int(key.split("/")[1]))
    return Planted(
        (server.id,),
        frozenset({("attachment-released-by-nova", server.volumes[1])}),
        attachments=frozenset({left}),
    )
