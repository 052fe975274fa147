# SPDX-License-Identifier: Apache-2.0
"""M-5: an attach stopped between Cinder's connection and its completion"""

from cases.stage import Planted, Stage, lately

DISPOSITIONS = ("report",)
WAY_OUT = ("openstack --os-volume-api-version 3.44 volume attachment complete ATTACHMENT",)


def build(stage: Stage) -> Planted:
    server = stage.server()
    stage.edit_attachment(stage.attachment(server, server.volumes[1]), attach_status="attaching")
    stage.edit_volume(server.volumes[1], status="attaching", attach_status="attaching", updated_at=lately())
    return Planted((server.id,), frozenset({("transition-stuck", server.volumes[1])}))
