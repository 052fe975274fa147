# SPDX-License-Identifier: Apache-2.0
"""K-1: the connector names an address instead of a compute host, as that of VMware does"""

from cases.stage import Planted, Stage

DISPOSITIONS: tuple[str, ...] = ()


def build(stage: Stage) -> Planted:
    server = stage.server()
    own = stage.attachment(server, server.volumes[1])
    stage.edit_attachment(own, attached_host="192.0.2.7", connector='{"host": "192.0.2.7"}')
    return Planted((server.id,), frozenset())
