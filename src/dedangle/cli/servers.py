# SPDX-License-Identifier: Apache-2.0
"""What verbs do with the servers they judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dedangle.cli import console
from dedangle.cli.wiring import UsageError

if TYPE_CHECKING:
    from dedangle.reconcile.server import Judged
    from dedangle.state.sightings import Sightings


def require_known(judged: Sequence[Judged]) -> None:
    """Raise UsageError for a server id that nobody has heard of: it is a slip of the fingers, not a clean server."""
    for each in judged:
        if not each.is_known:
            raise UsageError(
                f"No server {each.seen.server_id}: no cell of Nova and no attachment of Cinder knows the id. "
                "Look it up with: openstack server list --all-projects"
            )


def remember(sightings: Sightings, judged: Sequence[Judged]) -> None:
    """Note when each finding was first seen; without a place to write, the grace period begins anew each run."""
    try:
        checked = {each.seen.server_id for each in judged if not each.unread}
        sightings.remember((finding for each in judged for finding in each.findings), checked=checked)
    except OSError as error:
        console.complain(f"Sightings are not remembered, so the sweep's grace period does not pass: {error}")
