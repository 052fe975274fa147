# SPDX-License-Identifier: Apache-2.0
"""DC-9: an attachment names an id that Nova has no record of"""

import uuid

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
DOORS = ("sweep", "command")
OUTSIDE = "to whom the id belongs that Nova has no record of"


def build(stage: Stage) -> Planted:
    nobody, volume = str(uuid.uuid4()), stage.user.volume()
    stage.breaks.attach_unknown(nobody, volume, "elsewhere")
    return Planted((nobody,), frozenset({("attachment-unknown-owner", volume)}))
