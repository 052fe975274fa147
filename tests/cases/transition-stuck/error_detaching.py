# SPDX-License-Identifier: Apache-2.0
"""M-5: a detach failed in Cinder, and Nova keeps the mapping"""

from cases.stage import Planted, Stage, lately

DISPOSITIONS = ("report",)
WAY_OUT = ("openstack --os-volume-api-version 3.44 volume attachment complete ATTACHMENT",)


def build(stage: Stage) -> Planted:
    server = stage.server()
    stage.edit_attachment(stage.attachment(server, server.volumes[1]), attach_status="error_detaching")
    stage.edit_volume(server.volumes[1], status="error_detaching", updated_at=lately())
    return Planted((server.id,), frozenset({("transition-stuck", server.volumes[1])}))
