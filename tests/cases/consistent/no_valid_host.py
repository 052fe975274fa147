# SPDX-License-Identifier: Apache-2.0
"""K-2: a server in cell0 that never found a host, whose attachments stay reserved"""

from cases.stage import Planted, Stage

DISPOSITIONS: tuple[str, ...] = ()
DOORS = ("sweep", "command")


def build(stage: Stage) -> Planted:
    server = stage.server_without_host()
    return Planted((server.id,), frozenset())
