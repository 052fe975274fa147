# SPDX-License-Identifier: Apache-2.0
"""DC-2: an attachment on a host that the server has left"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
WAY_OUT = (
    "ssh elsewhere 'virsh -c qemu:///system list && ! virsh -c qemu:///system dominfo SERVER' && "
    "dedangle cleanup SERVER --volume VOLUME --no-host --execute",
)


def build(stage: Stage) -> Planted:
    server = stage.server()
    left = stage.breaks.reserve_attachment(server.id, server.volumes[1])
    stage.edit_attachment(
        left, attach_status="attached", attached_host=stage.left_host(), connector='{"host": "elsewhere"}'
    )
    return Planted((server.id,), frozenset({("attachment-left-by-migration", server.volumes[1])}))
