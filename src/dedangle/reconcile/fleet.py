# SPDX-License-Identifier: Apache-2.0
"""Many servers: a bulk read finds the suspects, and each is then reconciled with fresh reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from dedangle.core import planning
from dedangle.core.judging import ownerless
from dedangle.core.pairing import is_busy
from dedangle.core.planning import Limits, Scope
from dedangle.core.records import Attachment, Finding, Link, Volume
from dedangle.reconcile.server import Judged, Reconciler
from dedangle.report.account import Account
from dedangle.state.journal import Journal
from dedangle.systems import ports


class Progress(Protocol):
    def __call__(self, what: str, done: int = 0, total: int = 0) -> None:
        """Told of each step; done and total count servers where they are not 0."""


class Screen:
    """What the bulk read tells: whom to suspect, and how many attachments there are for the fuse."""

    def __init__(self, links: Sequence[Link], attachments: Sequence[Attachment], volumes: Sequence[Volume]) -> None:
        self.suspects, self.paired = _suspects(links, attachments, volumes)
        self.ownerless = [ownerless(each) for each in attachments if each.server_id is None]
        self.totals: Counter[Scope] = Counter()
        for link in links:
            self.totals.update(planning.scopes(link.cell, link.project_id))
        self.totals[planning.RUN] = len(attachments)


def _suspects(
    links: Iterable[Link], attachments: Iterable[Attachment], volumes: Iterable[Volume]
) -> tuple[list[str], int]:
    """Servers that may hold a finding; nothing else is decided here. Also the number of pairs beyond suspicion."""
    attached = {each.id: each for each in attachments if each.server_id}
    quiet = {each.id for each in volumes if each.status == "in-use" and not is_busy(each)}
    suspects: set[str] = set()
    paired = Counter[str]()
    for link in links:
        attachment = attached.pop(link.attachment_id or "", None)
        whole = (
            attachment is not None
            and link.project_id is not None
            and attachment.status == "attached"
            and attachment.volume_id in quiet
            and (attachment.server_id, attachment.volume_id) == (link.server_id, link.volume_id)
        )
        if whole:
            paired[link.server_id] += 1
        else:
            suspects.add(link.server_id)
            suspects.update({attachment.server_id} if attachment and attachment.server_id else ())
    suspects.update(each.server_id for each in attached.values() if each.server_id)
    return sorted(suspects), sum(count for server, count in paired.items() if server not in suspects)


def read_screen(
    nova: ports.Fleet, cinder: ports.Cinder, reconciler: Reconciler, account: Account, say: Progress
) -> Screen | None:
    """Read both sides in bulk; None where a side is incomplete, which the account then names.

    With a part missing every attachment of that part would look like a left-over, so nothing is judged at all.
    """
    say("Reading Nova's mappings in every cell")
    links = nova.all_links()
    say("Reading Cinder's attachments")
    attachments = cinder.all_attachments()
    say("Reading Cinder's volumes")
    volumes = cinder.all_volumes()
    unread = list(dict.fromkeys(each.why for each in (links, attachments, volumes) if not each.complete))
    if not unread and links.rows:
        doubt = reconciler.doubt()
        unread += [doubt] if doubt else []
    account.miss(f"every server: {why}" for why in unread)
    return None if unread else Screen(links.rows, attachments.rows, volumes.rows)


def audit(
    server_ids: Sequence[str],
    reconciler: Reconciler,
    account: Account,
    say: Progress,
    *,
    wanted: Callable[[Finding], bool] = lambda _: True,
) -> list[Judged]:
    """Judge each server with fresh reads and enter what is found; the sweep's first half, and all of an audit."""
    judged = []
    for done, server_id in enumerate(server_ids, 1):
        say("Judging servers", done, len(server_ids))
        one = reconciler.audit(server_id)
        account.add(each for each in one.findings if wanted(each))
        account.miss(f"server {server_id}: {why}" for why in one.unread)
        judged.append(one)
    return judged


def execute(
    judged: Iterable[Judged],
    reconciler: Reconciler,
    journal: Journal,
    account: Account,
    limits: Limits,
    totals: Counter[Scope],
    say: Progress,
) -> None:
    """Remove what was found unless the fuse trips; each server is judged anew right before its writes."""
    doomed = [(each, planning.changes(each.findings)) for each in judged]
    account.refusal = planning.refusal((finding for _, plan in doomed for finding in plan), limits, totals)
    if account.refusal:
        return
    doomed = [(each, plan) for each, plan in doomed if plan]
    spare = planning.spare((finding for _, plan in doomed for finding in plan), limits, totals)
    for done, (one, plan) in enumerate(doomed, 1):
        say("Cleaning servers", done, len(doomed))
        known = {each.key for each in plan}
        for finding, outcome in reconciler.execute(one, journal, spare=spare):
            spare -= finding.key not in known
            account.add([finding])
            account.outcomes[finding.key] = outcome
