# SPDX-License-Identifier: Apache-2.0
"""M-5: a detach stopped after Nova had deleted its mapping: no side goes on with it"""

from cases.stage import Planted, Stage, lately

DISPOSITIONS = ("report", "wait")
WAY_OUT = ("openstack volume set --state in-use VOLUME", "dedangle cleanup SERVER --restart --execute")


def build(stage: Stage) -> Planted:
    server = stage.server()
    (key,) = stage.mapping_keys(server.id, server.volumes[1:])
    stage.edit_mapping(server, server.volumes[1], deleted=int(key.split("/")[1]))
    stage.edit_volume(server.volumes[1], status="detaching", updated_at=lately())
    return Planted((server.id,), frozenset({("transition-stuck", server.volumes[1]), ("in-flight", server.volumes[0])}))
