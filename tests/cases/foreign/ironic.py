# SPDX-License-Identifier: Apache-2.0
"""X-1: a volume target of Ironic, attached to the id of a Nova server"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("protect",)


def build(stage: Stage) -> Planted:
    server, volume = stage.server(), stage.user.volume()
    stage.breaks.attach_unknown(server.id, volume, "node")
    body = {"metadata": {f"ironic_node_{server.id}": "x"}}
    stage.user.user.cinder("POST", f"/volumes/{volume}/metadata", body, expect=200)
    return Planted((server.id,), frozenset({("foreign", volume)}))
