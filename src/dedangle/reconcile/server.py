# SPDX-License-Identifier: Apache-2.0
"""One server through all stages: observe, pair, judge, plan, re-verify, act, record, report."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
from collections.abc import Callable, Generator
from datetime import datetime

from dedangle.core import exits, pairing, planning
from dedangle.core.case import Policy
from dedangle.core.decisions import Finding, FindingKey, Outcome, Remedy, Result, Verdict
from dedangle.core.doors import is_connected
from dedangle.core.judging import judge
from dedangle.core.observations import CinderView, NovaView, Observation
from dedangle.core.pair import Pair
from dedangle.core.records import SOFT_DELETED, Reading, Refusal, Server, Volume
from dedangle.reconcile.control import ControlRead
from dedangle.reconcile.images import Images
from dedangle.reconcile.observing import Observer
from dedangle.reconcile.repairs import Repairs
from dedangle.state.journal import Journal, JournalUnwritableError
from dedangle.systems import ports

LOG = logging.getLogger(__name__)

# The attachments of a deleted server can be judged only after its mappings with lost attachments were removed.
_ROUNDS = 3
_NOT_KEPT = CinderView(attachments=Reading())


@dataclasses.dataclass(frozen=True)
class Judged:
    """The findings of one server, and the observation that they are based on."""

    findings: tuple[Finding, ...]
    seen: Observation

    @functools.cached_property
    def changes(self) -> tuple[Finding, ...]:
        """The findings that the door would change, in the order of the writes."""
        return planning.changes(self.findings)

    def of(self, wanted: Callable[[Finding], bool]) -> Judged:
        """Return the same without the findings that are not wanted."""
        return Judged(tuple(filter(wanted, self.findings)), self.seen)

    def without_rows(self) -> Judged:
        """Return the same without consistent pairs, and without the rows: every removal reads them again."""
        view = NovaView(server_id=self.seen.server_id, servers=self.seen.after.servers, unread=self.unread)
        findings = tuple(finding for finding in self.findings if finding.verdict is not Verdict.CONSISTENT)
        return Judged(findings, Observation(server_id=view.server_id, before=view, cinder=_NOT_KEPT, after=view))

    @property
    def is_known(self) -> bool:
        """Whether any system knows the server, or Nova could not be read completely."""
        nova = self.seen.after
        return bool(nova.servers or nova.building or nova.mappings or self.findings or not nova.complete)

    @property
    def server(self) -> Server | None:
        return pairing.server_of(self.seen.after)

    @property
    def unread(self) -> tuple[str, ...]:
        """Why parts of the state that the judgement needs could not be read."""
        readings = [*self.seen.cinder.readings()]
        if any(finding.verdict is Verdict.CANNOT_TELL for finding in self.findings):
            readings.append(self.seen.other_servers_bdms)
        whys = (reading.why for reading in readings if not reading.complete)
        return tuple(dict.fromkeys((*self.seen.before.unread, *self.seen.after.unread, *whys)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reconciler:
    """Observes, judges and changes one server for all three doors. The door chooses the systems and the policy."""

    nova: ports.Nova
    cinder: ports.Cinder
    hosts: ports.Hosts
    policy: Policy
    clock: Callable[[], datetime]
    first_seen: Callable[[FindingKey], datetime | None]
    is_journalled: Callable[[str], bool] = lambda _: False
    """Whether the journal has a change of a server from a time when Nova knew it."""
    thorough: bool = False
    """Whether every volume is read, even if all mappings and attachments pair."""
    at_once: int = 1
    """How many requests about one server are sent to Cinder at the same time."""
    images: Images | None = None
    """Asks Ceph for the clients of RBD images, where the operator has named a cluster."""
    repairs: Repairs | None = None
    """The repairs that give a server its volumes back; only the command has them."""
    shield: Callable[..., contextlib.AbstractContextManager[object]] = lambda **_: contextlib.nullcontext()
    """Delays signals during the intent, the write and the outcome. With `even_after_signal`, the block also runs after
    a signal."""

    def audit(self, server_id: str) -> Judged:
        """Judge the server as it is now; changes nothing."""
        seen = self._observer.observe(server_id)
        findings = exits.judge_with_ways_out(pairing.pairs(seen), self.policy, self.clock(), self._judge_pair)
        return Judged(findings, seen)

    def without_restart(self) -> Reconciler:
        """Return a reconciler that judges servers as they are, even if --restart is given."""
        return dataclasses.replace(self, policy=dataclasses.replace(self.policy, restart=False))

    def counts_on_stop(self, judged: Judged) -> bool:
        """Whether a part of the plan needs the server to be stopped first."""
        as_it_is = {finding.key for finding in self.without_restart()._judge(judged.seen).changes}
        # It is not known in advance whether Cinder connects a volume at the address that the running guest uses.
        comes_back = any(finding.remedy is Remedy.RESTORE_ATTACHMENT for finding in judged.changes)
        may_stop = judged.server is not None and judged.server.can_be_stopped
        return (comes_back and may_stop) or any(finding.key not in as_it_is for finding in judged.changes)

    def _judge(self, seen: Observation) -> Judged:
        """Judge without ways out, which are not needed for a second judgement."""
        now = self.clock()
        findings = (each for pair in pairing.pairs(seen) for each in self._judge_pair(pair, self.policy, now))
        return Judged(tuple(findings), seen)

    def _judge_pair(self, pair: Pair, policy: Policy, now: datetime) -> tuple[Finding, ...]:
        return judge(pair, now=now, policy=policy, first_seen=self.first_seen)

    def execute(
        self,
        judged: Judged,
        journal: Journal,
        *,
        observes: bool = True,
        more: Callable[[int], int] | None = None,
        prepare: Callable[[Finding], Refusal | None] = lambda _: None,
        wanted: Callable[[Finding], bool] = lambda _: True,
    ) -> Generator[tuple[Finding, Outcome], None, None]:
        """Make the changes of the judgement that still hold.

        If it `observes`, the server is read once more right before. If not, the caller has kept other operations from
        the server since the judgement, and each write still compares its row with the judgement.

        Yields each finding with its outcome. `prepare` is called before each write; it returns why it was only partly
        done, or raises UnpreparedError. Findings that are not `wanted` are skipped. If a removal makes new findings
        removable, `more` returns how many of them may be removed too; without `more` they are skipped.

        Raises journal.JournalUnwritableError before a write whose intent could not be written, and after the outcome
        that could not be written was yielded.
        """
        tried: set[FindingKey] = set()
        plan = tuple(filter(wanted, judged.changes))
        for _ in range(_ROUNDS):
            if not plan:
                return
            judged = self._judge(self._observer.observe(judged.seen.server_id)) if observes else judged
            still = {_rows(finding): finding for finding in judged.changes}
            for finding in plan:
                tried.add(finding.key)
                if now := still.get(_rows(finding)):
                    # The reason and the evidence of this judgement; the plan's may be from before the server stopped.
                    # The state of the plan: a server that was stopped for the change is started again.
                    current = dataclasses.replace(now, code=finding.code, vm_state=finding.vm_state)
                    # A signal during the write is raised after the caller has received the outcome.
                    with self.shield():
                        outcome, unwritten = self._remove(current, judged, journal, prepare)
                        yield current, outcome
                    if unwritten:
                        raise unwritten
                elif judged.unread:
                    yield finding, Outcome(result=Result.FAILED, detail="; ".join(judged.unread))
                else:
                    yield (
                        finding,
                        Outcome(
                            result=Result.CHANGED_MEANWHILE, detail="a second check right before the write keeps it"
                        ),
                    )
            mapped = {mapping.volume_id for mapping in judged.seen.after.mappings}
            if more is None or mapped.isdisjoint(each.volume_id for each in plan):
                # One attachment less can only change the verdict of a mapping of the same volume.
                return
            judged = self.audit(judged.seen.server_id)
            plan = tuple(finding for finding in judged.changes if finding.key not in tried and wanted(finding))
            plan = plan[: more(len(plan))]

    @functools.cached_property
    def _observer(self) -> Observer:
        return Observer(
            self.nova, self.cinder, self.hosts, self.images, self.is_journalled, self.thorough, self.at_once
        )

    def doubt(self) -> Refusal | None:
        """Return why the credentials may not see all attachments; None if an attachment that they must see is shown."""
        return ControlRead(self.nova, self.cinder).trust().doubt

    def _remove(
        self, finding: Finding, judged: Judged, journal: Journal, prepare: Callable[[Finding], Refusal | None]
    ) -> tuple[Outcome, JournalUnwritableError | None]:
        """Return the outcome, and the error if it could not be journalled."""
        unwritten = None
        entry = journal.intend(finding)
        LOG.info(
            "%s stale volume attachment %s of volume %s from instance %s (block device mapping %s): %s",
            "Repairing" if self._is_repair(finding) else "Removing",
            finding.attachment_id,
            finding.volume_id,
            finding.server_id,
            finding.bdm_uuid,
            finding.sentence,
            extra={"instance_uuid": finding.server_id},
        )
        try:
            refusal = prepare(finding)
            outcome = self._write(finding, judged)
            if refusal:
                details = filter(None, (outcome.detail, refusal.why))
                outcome = dataclasses.replace(outcome, detail="; ".join(details))
        except UnpreparedError as error:
            outcome = Outcome(result=error.result, detail=str(error))
        try:
            journal.conclude(entry, outcome)
        except JournalUnwritableError as error:
            unwritten = error
        if not outcome.result.is_done:
            LOG.warning(
                "Kept volume attachment %s of volume %s: %s, %s",
                finding.attachment_id,
                finding.volume_id,
                outcome.result,
                outcome.detail,
                extra={"instance_uuid": finding.server_id},
            )
        return outcome, unwritten

    def _is_repair(self, finding: Finding) -> bool:
        return self.repairs is not None and self.repairs.carries_out(finding)

    def _write(self, finding: Finding, judged: Judged) -> Outcome:
        server = _living(judged)
        if self.repairs and self._is_repair(finding):
            volumes = judged.seen.cinder.volumes.get(finding.volume_id, Reading[Volume]())
            return self.repairs.carry_out(finding, server, next(iter(volumes.rows), None))
        # The host claims the server, and nova-api then refuses its user's requests. Only a disconnect needs that.
        skips_host = self.policy.no_host and server is not None and server.vm_state == SOFT_DELETED
        if server and server.host and judged.seen.host_acts and is_connected(finding) and not skips_host:
            return self.hosts.carry_out(finding, server.host, self.policy)
        if finding.remedy is Remedy.REMOVE_MAPPING and finding.mapping:
            return self.nova.soft_delete_mapping(finding.mapping, server)
        if finding.remedy is Remedy.REMOVE_ATTACHMENT and finding.attachment:
            return self.cinder.delete_attachment(finding.attachment)
        return Outcome(result=Result.FAILED, detail=f"no door carries out {finding.remedy}")


def _rows(finding: Finding) -> tuple[FindingKey, Remedy]:
    """Return the key without the code, and the remedy; the code may change when the server is stopped."""
    return finding.key._replace(code=""), finding.remedy


def _living(judged: Judged) -> Server | None:
    return next((server for server in judged.seen.after.servers if not server.deleted), None)


class UnpreparedError(Exception):
    """The preparation of a write failed, so the write was not made. `result` is the outcome of the write."""

    def __init__(self, why: str, result: Result = Result.FAILED) -> None:
        super().__init__(why)
        self.result = result
