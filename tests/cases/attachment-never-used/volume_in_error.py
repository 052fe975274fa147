# SPDX-License-Identifier: Apache-2.0
"""DC-4: a reserved attachment that Nova never learnt of, of a volume in error: removing it would hide the error"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
WAY_OUT = (
    "openstack volume set --state available VOLUME",
    "dedangle cleanup SERVER --execute",
    "openstack volume set --state error VOLUME",
)


def build(stage: Stage) -> Planted:
    server, volume = stage.server(), stage.user.volume()
    stage.breaks.reserve_attachment(server.id, volume)
    stage.edit_volume(volume, status="error")
    return Planted((server.id,), frozenset({("attachment-never-used", volume)}))
