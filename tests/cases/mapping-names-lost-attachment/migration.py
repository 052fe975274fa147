# SPDX-License-Identifier: Apache-2.0
"""M-1: a migration died between the old attachment and the new one"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
WAY_OUT = (
    "ssh HOST nova-manage volume_attachment get_connector --json > connector.json",
    "dedangle cleanup SERVER --reattach --restart --connector connector.json --execute",
)


def build(stage: Stage) -> Planted:
    server = stage.server()
    stage.breaks.lose_attachment(server.id, server.volumes[1])
    stage.breaks.reserve_attachment(server.id, server.volumes[1])
    return Planted(
        (server.id,),
        frozenset((code, server.volumes[1]) for code in ("mapping-names-lost-attachment", "attachment-never-used")),
    )
