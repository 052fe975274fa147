# SPDX-License-Identifier: Apache-2.0
"""DN-3c: Cinder's database came back from a backup, and only this attachment is still lost; the server runs"""

from datetime import datetime, timedelta, timezone

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
WAY_OUT = (
    "ssh HOST nova-manage volume_attachment get_connector --json > connector.json",
    "dedangle cleanup SERVER --reattach --connector connector.json --execute",
)


def build(stage: Stage) -> Planted:
    server = stage.server(2)
    stage.breaks.lose_attachment(server.id, server.volumes[1])
    backup = datetime.now(timezone.utc).replace(tzinfo=None) - timedelta(days=1)
    stage.edit_volume(server.volumes[1], updated_at=backup)
    return Planted((server.id,), frozenset({("attachment-lost-in-use", server.volumes[1])}))
