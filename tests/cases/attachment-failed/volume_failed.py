# SPDX-License-Identifier: Apache-2.0
"""DC-7: a detach failed in Cinder, which left the volume in error_detaching, and Nova forgot it"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
WAY_OUT = ("dedangle cleanup SERVER --restart --execute",)


def build(stage: Stage) -> Planted:
    server = stage.server()
    left = stage.attachment(server, server.volumes[1])
    stage.edit_attachment(left, attach_status="error_detaching")
    (key,) = stage.mapping_keys(server.id, server.volumes[1:])
    stage.edit_mapping(server, server.volumes[1], deleted=int(key.split("/")[1]))
    stage.edit_volume(server.volumes[1], status="error_detaching")
    return Planted((server.id,), frozenset({("attachment-failed", server.volumes[1])}))
