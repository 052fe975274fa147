# SPDX-License-Identifier: Apache-2.0
"""M-3: a reserved attachment names one server, and the mapping of another server names it."""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
DOORS = ("sweep", "command")
OUTSIDE = "which of the two sides is right"


def build(stage: Stage) -> Planted:
    shelved, other = stage.server(), stage.server(0)
    stage.user.shelve_offload(shelved.id)
    stage.edit_attachment(stage.attachment(shelved, shelved.volumes[1]), instance_uuid=other.id)
    return Planted((shelved.id, other.id), frozenset({("link-mismatch", shelved.volumes[1])}))
