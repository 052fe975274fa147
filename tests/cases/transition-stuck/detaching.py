# SPDX-License-Identifier: Apache-2.0
"""M-5: a detach stopped before anything was let go"""

from cases.stage import Planted, Stage, lately

DISPOSITIONS = ("report",)
WAY_OUT = ("openstack volume set --state in-use VOLUME",)


def build(stage: Stage) -> Planted:
    server = stage.server()
    stage.edit_volume(server.volumes[1], status="detaching", updated_at=lately())
    return Planted((server.id,), frozenset({("transition-stuck", server.volumes[1])}))
