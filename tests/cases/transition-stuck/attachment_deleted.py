# SPDX-License-Identifier: Apache-2.0
"""M-5: a detach stopped after Cinder's attachment was gone, and the volume stays detaching"""

from cases.stage import Planted, Stage, lately

DISPOSITIONS = ("report",)
WAY_OUT = (
    "openstack volume set --state error VOLUME",
    "dedangle cleanup SERVER --restart --no-host --execute",
    "openstack volume set --state available VOLUME",
)


def build(stage: Stage) -> Planted:
    server = stage.server()
    stage.breaks.lose_attachment(server.id, server.volumes[1])
    stage.edit_volume(server.volumes[1], status="detaching", updated_at=lately())
    return Planted((server.id,), frozenset({("transition-stuck", server.volumes[1])}))
