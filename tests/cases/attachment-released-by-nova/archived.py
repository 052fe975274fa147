# SPDX-License-Identifier: Apache-2.0
"""DC-5: Nova deleted its mapping and archived the row, Cinder kept the attachment; the server is stopped"""

import sqlalchemy as sa

from cases.stage import Planted, Stage

DISPOSITIONS = ("remove",)
DOORS = ("sweep", "command")
REMOVED_BY = ("sweep", "command")
WAY_OUT = ("dedangle cleanup SERVER --execute",)


def build(stage: Stage) -> Planted:
    server = stage.server()
    left = stage.attachment(server, server.volumes[1])
    (key,) = stage.mapping_keys(server.id, server.volumes[1:])
    stage.user.stop(server.id)
    cell, number = key.split("/")
    with stage.cloud.home.connect(f"nova_{cell}") as nova:
        row = {"id": int(number)}
        table = "block_device_mapping"
        nova.execute(sa.text(f"UPDATE {table} SET deleted = id WHERE id = :id"), row)
        # As nova-manage db archive_deleted_rows does.
        nova.execute(sa.text(f"INSERT INTO shadow_{table} SELECT * FROM {table} WHERE id = :id"), row)
        nova.execute(sa.text(f"DELETE FROM {table} WHERE id = :id"), row)
    return Planted(
        (server.id,),
        frozenset({("attachment-released-by-nova", server.volumes[1])}),
        attachments=frozenset({left}),
    )
