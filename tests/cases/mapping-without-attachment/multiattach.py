# SPDX-License-Identifier: Apache-2.0
"""DN-3c: the lost attachment is of a multi-attach volume that another server uses on the same host"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
# Neither the host nor --no-host disconnects what another server uses there.
REMOVED_BY = ("reboot", "command")
WAY_OUT = ("dedangle cleanup SERVER --no-host --execute",)


def build(stage: Stage) -> Planted:
    one, two, volume = stage.server(0), stage.server(0), stage.multiattach_volume()
    stage.user.attach(one.id, volume)
    stage.user.attach(two.id, volume)
    stage.breaks.lose_attachment(one.id, volume)
    stage.user.stop(one.id)
    return Planted(
        (one.id, two.id),
        frozenset({("mapping-without-attachment", volume)}),
        mappings=stage.mapping_keys(one.id, [volume]),
    )
