# SPDX-License-Identifier: Apache-2.0
"""K-5: attached before Queens: the mapping has a connection and no attachment id"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("protect",)


def build(stage: Stage) -> Planted:
    server = stage.server()
    stage.edit_mapping(server, server.volumes[1], attachment_id=None)
    return Planted((server.id,), frozenset({("legacy", server.volumes[1])}))
