# SPDX-License-Identifier: Apache-2.0
"""DC-5: Nova deleted its mapping of a shelved-offloaded server, Cinder kept the attachment"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("remove",)
REMOVED_BY = ("sweep", "command")
DOORS = ("sweep", "command")
WAY_OUT = ("dedangle cleanup SERVER --execute",)


def build(stage: Stage) -> Planted:
    server, volume = stage.server(), stage.user.volume()
    stage.user.shelve_offload(server.id)
    stage.user.attach(server.id, volume)
    left = stage.attachment(server, volume)
    (key,) = stage.mapping_keys(server.id, [volume])
    stage.edit_mapping(server, volume, deleted=int(key.split("/")[1]))
    return Planted((server.id,), frozenset({("attachment-released-by-nova", volume)}), attachments=frozenset({left}))
