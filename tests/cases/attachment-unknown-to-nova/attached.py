# SPDX-License-Identifier: Apache-2.0
"""DC-6: a volume is attached to a living server, and Nova has no record of it"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
WAY_OUT = (
    "ssh elsewhere 'virsh -c qemu:///system list && ! virsh -c qemu:///system dominfo SERVER' && "
    "openstack --os-volume-api-version 3.27 volume attachment delete ATTACHMENT",
)


def build(stage: Stage) -> Planted:
    server, volume = stage.server(), stage.user.volume()
    stage.breaks.attach_unknown(server.id, volume, "elsewhere")
    return Planted((server.id,), frozenset({("attachment-unknown-to-nova", volume)}))
