# SPDX-License-Identifier: Apache-2.0
"""M-1: Cinder lost the attachment of the server's host, and has one on a host that the server has left"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
WAY_OUT = (
    "ssh elsewhere 'virsh -c qemu:///system list && ! virsh -c qemu:///system dominfo SERVER' && "
    "openstack server stop SERVER",
    'until [ "$(openstack server show -f value -c status SERVER)" = SHUTOFF ]; do sleep 2; done',
    "ssh elsewhere 'virsh -c qemu:///system list && ! virsh -c qemu:///system dominfo SERVER' && "
    "openstack --os-volume-api-version 3.27 volume attachment delete ATTACHMENT",
    "ssh HOST nova-manage volume_attachment get_connector --json > connector.json",
    "dedangle cleanup SERVER --reattach --connector connector.json --execute",
    "openstack server start SERVER",
)


def build(stage: Stage) -> Planted:
    server = stage.server()
    volume = server.volumes[1]
    stage.breaks.lose_attachment(server.id, volume)
    left = stage.breaks.reserve_attachment(server.id, volume)
    stage.edit_attachment(
        left, attach_status="attached", attached_host=stage.left_host(), connector='{"host": "elsewhere"}'
    )
    stage.edit_volume(volume, status="in-use")
    codes = ("mapping-names-lost-attachment", "attachment-unknown-to-nova")
    return Planted((server.id,), frozenset((code, volume) for code in codes))
