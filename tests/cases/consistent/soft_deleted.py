# SPDX-License-Identifier: Apache-2.0
"""K-3: a server that waits for its reclaim: deleted_at is set, and it is alive"""

from cases.stage import Planted, Stage

DISPOSITIONS: tuple[str, ...] = ()
DOORS = ("sweep", "command")


def build(stage: Stage) -> Planted:
    server = stage.server()
    stage.edit_server(server, vm_state="soft-delete", deleted_at="2026-01-01 00:00:00.000000")
    return Planted((server.id,), frozenset())
