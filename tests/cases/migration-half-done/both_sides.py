# SPDX-License-Identifier: Apache-2.0
"""M-4: a live migration died: the mapping names the attachment of the other host"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
WAY_OUT = (
    "ssh elsewhere 'virsh -c qemu:///system list && ! virsh -c qemu:///system dominfo SERVER' && "
    "openstack server stop SERVER",
    'until [ "$(openstack server show -f value -c status SERVER)" = SHUTOFF ]; do sleep 2; done',
    "dedangle cleanup SERVER --relink --execute",
    "openstack server start SERVER",
    "ssh elsewhere 'virsh -c qemu:///system list && ! virsh -c qemu:///system dominfo SERVER' && "
    "dedangle cleanup SERVER --volume VOLUME --no-host --execute",
)


def build(stage: Stage) -> Planted:
    server = stage.server()
    there = stage.breaks.reserve_attachment(server.id, server.volumes[1])
    stage.edit_attachment(
        there, attach_status="attached", attached_host=stage.left_host(), connector='{"host": "elsewhere"}'
    )
    stage.edit_mapping(server, server.volumes[1], attachment_id=there)
    return Planted((server.id,), frozenset({("migration-half-done", server.volumes[1])}))
