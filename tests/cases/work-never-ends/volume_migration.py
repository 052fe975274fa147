# SPDX-License-Identifier: Apache-2.0
"""F: an attachment was reserved, and a retype that moves one of the server's volumes stopped two days ago"""

from datetime import datetime, timedelta, timezone

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
DOORS = ("sweep", "command")
WAY_OUT = (
    "cinder reset-state --state in-use --attach-status attached --reset-migration-status VOLUME",
    "dedangle cleanup SERVER --execute",
)


def build(stage: Stage) -> Planted:
    server, volume = stage.server(), stage.user.volume()
    stage.breaks.reserve_attachment(server.id, volume)
    begun = datetime.now(timezone.utc).replace(tzinfo=None) - timedelta(days=2)
    stage.edit_volume(
        server.volumes[1],
        status="retyping",
        previous_status="in-use",
        migration_status="migrating",
        updated_at=begun,
    )
    return Planted(
        (server.id,),
        frozenset(
            {
                ("work-never-ends", server.volumes[1]),
                ("attachment-never-used", volume),
                ("volume-status-wrong", server.volumes[1]),
            }
        ),
    )
