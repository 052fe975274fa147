# SPDX-License-Identifier: Apache-2.0
"""P: the only volume of a server without an image is its root, whatever its boot_index"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("protect",)
WAY_OUT = (
    "ssh HOST nova-manage volume_attachment get_connector --json > connector.json",
    "dedangle cleanup SERVER --reattach --connector connector.json --execute",
)


def build(stage: Stage) -> Planted:
    server = stage.server(0)
    stage.edit_mapping(server, server.volumes[0], boot_index=None, device_name="/dev/vdq")
    stage.breaks.lose_attachment(server.id, server.volumes[0])
    stage.user.stop(server.id)
    return Planted((server.id,), frozenset({("mapping-without-attachment", server.volumes[0])}))
