# SPDX-License-Identifier: Apache-2.0
"""DN-2: a server that never found a host lost the attachment of its data volume"""

from cases.stage import Planted, Stage
from dedangle.lab import rows

DISPOSITIONS = ("report",)
REMOVED_BY = ("command",)
DOORS = ("sweep", "command")
WAY_OUT = ("dedangle cleanup SERVER --execute",)


def build(stage: Stage) -> Planted:
    server = stage.server_without_host()
    stage.breaks.lose_attachment(server.id, server.volumes[1])
    return Planted(
        (server.id,),
        frozenset({("mapping-never-launched", server.volumes[1])}),
        mappings=frozenset(
            key
            for key, row in rows.snapshot(stage.cloud.home).mappings.items()
            if row["volume_id"] == server.volumes[1] and not row["deleted"]
        ),
    )
