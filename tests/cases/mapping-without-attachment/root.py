# SPDX-License-Identifier: Apache-2.0
"""P: the root disk's attachment is lost; the server is stopped"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("protect",)
WAY_OUT = (
    "ssh HOST nova-manage volume_attachment get_connector --json > connector.json",
    "dedangle cleanup SERVER --reattach --connector connector.json --execute",
)


def build(stage: Stage) -> Planted:
    server = stage.server()
    stage.breaks.lose_attachment(server.id, server.volumes[0])
    stage.user.stop(server.id)
    return Planted((server.id,), frozenset({("mapping-without-attachment", server.volumes[0])}))
