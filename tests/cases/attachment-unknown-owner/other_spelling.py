# SPDX-License-Identifier: Apache-2.0
"""DC-9: a user claimed attachments for a server's id as Nova does not spell it"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
# The command takes an id as Nova spells it, and anything else for a name.
DOORS = ("sweep",)
OUTSIDE = "to whom the id belongs that Nova has no record of"


def build(stage: Stage) -> Planted:
    server = stage.server(0).id
    claimed = {each: stage.user.volume() for each in (server.upper(), server.replace("-", ""))}
    for each, volume in claimed.items():
        stage.breaks.reserve_attachment(each, volume)
    return Planted(tuple(claimed), frozenset(("attachment-unknown-owner", each) for each in claimed.values()))
