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
from dedangle.core.records import HostState, Reading, Refusal, Server, Volume
from dedangle.reconcile.control import ControlRead
from dedangle.reconcile.repairs import Repairs
from dedangle.state.journal import Journal, JournalUnwritableError
from dedangle.systems import ports

LOG = logging.getLogger(__name__)

# A deleted server's attachments are judged only when no mapping of it names a lost one any more: its mappings go first.
_ROUNDS = 3


@dataclasses.dataclass(frozen=True)
class Judged:
    """One server as it was found; `seen` is the observation that the findings rest on."""

    findings: tuple[Finding, ...]
    seen: Observation

    @functools.cached_property
    def changes(self) -> tuple[Finding, ...]:
        """What the door would remove or relink, in the order of the writes."""
        return planning.changes(self.findings)

    def of(self, wanted: Callable[[Finding], bool]) -> Judged:
        """Return the same without the findings that are not wanted."""
        return Judged(tuple(filter(wanted, self.findings)), self.seen)

    @property
    def is_known(self) -> bool:
        """Whether any system has ever heard of the server."""
        nova = self.seen.after
        return bool(nova.servers or nova.building or nova.mappings or self.findings or not nova.complete)

    @property
    def server(self) -> Server | None:
        return pairing.server_of(self.seen.after)

    @property
    def unread(self) -> tuple[str, ...]:
        """What was not read and would have counted."""
        readings = [*self.seen.cinder.readings()]
        if any(finding.verdict is Verdict.CANNOT_TELL for finding in self.findings):
            readings.append(self.seen.other_servers_bdms)
        whys = (reading.why for reading in readings if not reading.complete)
        return tuple(dict.fromkeys((*self.seen.before.unread, *self.seen.after.unread, *whys)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reconciler:
    """The one function of all three doors; a door decides which systems are wired in and who is told."""

    nova: ports.Nova
    cinder: ports.Cinder
    hosts: ports.Hosts
    policy: Policy
    clock: Callable[[], datetime]
    first_seen: Callable[[FindingKey], datetime | None]
    thorough: bool = False
    """Whether every volume is asked for, also where everything pairs."""
    repairs: Repairs | None = None
    """What gives a server its volumes back; only the command has it."""
    shield: Callable[..., contextlib.AbstractContextManager[object]] = lambda **_: contextlib.nullcontext()
    """Wraps intent, write and outcome, so that no signal comes between them; with `even_after_signal` what must be done
    after them, signal or not."""

    def audit(self, server_id: str) -> Judged:
        """Judge the server as it is now; changes nothing."""
        seen = self._observe(server_id)
        findings = exits.judge_with_ways_out(pairing.pairs(seen), self.policy, self.clock(), self._judge_pair)
        return Judged(findings, seen)

    def without_restart(self) -> Reconciler:
        """The same without leave to count on a server's being stopped."""
        return dataclasses.replace(self, policy=dataclasses.replace(self.policy, restart=False))

    def counts_on_stop(self, judged: Judged) -> bool:
        """Whether something of the plan can be done only once the server is stopped, which it is not."""
        as_it_is = {finding.key for finding in self.without_restart()._judge(judged.seen).changes}
        # Whether a volume comes back at the address that a running guest uses is not known before.
        comes_back = any(finding.remedy is Remedy.RESTORE_ATTACHMENT for finding in judged.changes)
        may_stop = judged.server is not None and judged.server.can_be_stopped
        return (comes_back and may_stop) or any(finding.key not in as_it_is for finding in judged.changes)

    def _judge(self, seen: Observation) -> Judged:
        """Judge without ways out, which nobody reads of what is judged once more."""
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
        more: Callable[[int], int] | None = None,
        prepare: Callable[[Finding], Refusal | None] = lambda _: None,
        wanted: Callable[[Finding], bool] = lambda _: True,
    ) -> Generator[tuple[Finding, Outcome], None, None]:
        """Remove what the judgement said may be removed, as far as it still holds.

        Yields each finding that was tried with its outcome, as soon as it is known. Where a removal brings up new ones,
        more is asked how many (removals) of so many may be carried out too, and without it none are looked for;
        prepare is called before each write, returns why it was done in part and may raise UnpreparedError; what is
        not wanted is left. Raises
        journal.JournalUnwritableError where the next removal could not be written down, and after the outcome of one
        that was, where that could not be.
        """
        tried: set[FindingKey] = set()
        plan = tuple(filter(wanted, judged.changes))
        for _ in range(_ROUNDS):
            if not plan:
                return
            judged = self._judge(self._observe(judged.seen.server_id))
            still = {_rows(finding) for finding in judged.changes}
            for finding in plan:
                tried.add(finding.key)
                if _rows(finding) in still:
                    # A signal that came meanwhile is raised when the outcome has been taken.
                    with self.shield():
                        outcome, unwritten = self._remove(finding, judged, journal, prepare)
                        yield finding, outcome
                    if unwritten:
                        raise unwritten
                elif judged.unread:
                    yield finding, Outcome(result=Result.FAILED, detail="; ".join(judged.unread))
                else:
                    yield finding, Outcome(result=Result.CHANGED_MEANWHILE, detail="judged anew, it is to be kept")
            mapped = {mapping.volume_id for mapping in judged.seen.after.mappings}
            if more is None or mapped.isdisjoint(each.volume_id for each in plan):
                # Only a mapping of the same volume is judged otherwise with one attachment less.
                return
            judged = self.audit(judged.seen.server_id)
            plan = tuple(finding for finding in judged.changes if finding.key not in tried and wanted(finding))
            plan = plan[: more(len(plan))]

    def _observe(self, server_id: str) -> Observation:
        before = self.nova.read_live(server_id)
        named = {mapping.attachment_id for mapping in before.mappings if mapping.attachment_id}
        attachments = self.cinder.attachments_of_server(server_id, named)
        if not attachments.complete:
            return Observation(
                server_id=server_id, before=before, cinder=CinderView(attachments=attachments), after=before
            )
        volume_ids, attachment_ids = pairing.needed_of_cinder(before, attachments.rows, thorough=self.thorough)
        if not volume_ids:
            # What pairs needs no second look, and a healthy server costs one question to each side.
            after = before if before.complete else self.nova.observe(server_id)
            return Observation(
                server_id=server_id, before=before, cinder=CinderView(attachments=attachments), after=after
            )
        named_ones = {each: self.cinder.attachment(each) for each in sorted(attachment_ids)}
        control = ControlRead(self.nova, self.cinder)
        lost = [ident for ident, reading in named_ones.items() if reading.absent]
        trust = control.trust(before, attachments.rows, lost)
        cinder = CinderView(
            attachments=Reading(attachments.rows, not trust.doubt, str(trust.doubt or "")),
            named=named_ones,
            volumes={volume_id: self.cinder.volume(volume_id) for volume_id in sorted(volume_ids)},
            of_volumes={volume_id: self.cinder.attachments_of_volume(volume_id) for volume_id in sorted(volume_ids)},
        )
        # Before Nova is read again: a disk that the guest got after that has a mapping by then.
        guests = {host: self.hosts.disks(server_id, host) for host in pairing.hosts_concerned(before, cinder)}
        other_servers_bdms = self.nova.other_servers_bdms(volume_ids, server_id)
        return Observation(
            server_id=server_id,
            before=before,
            cinder=cinder,
            after=self.nova.observe(server_id),
            other_servers_bdms=other_servers_bdms,
            other_servers=self.nova.servers(pairing.other_holders(server_id, cinder, other_servers_bdms)),
            guests=guests,
            askable_hosts=frozenset(filter(self.hosts.may_answer, guests)),
            host_acts=self._acts_itself(before),
            cinder_is_behind=trust.cinder_is_behind,
            nova_is_behind=control.nova_is_behind(
                [attachment for attachment in attachments.rows if attachment.id not in named]
            ),
        )

    def _acts_itself(self, nova: NovaView) -> bool:
        # One that is down would only be waited for, and what is on it counts as in flight anyway.
        hosts = {server.host for server in nova.servers if server.host and not server.deleted}
        return nova.host_state is not HostState.DOWN and any(map(self.hosts.acts, hosts))

    def doubt(self) -> Refusal | None:
        """Return why the credentials may not see all attachments; one that they must see proves that they do."""
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
        # Its host claims no server in ERROR; what was never connected needs nothing of it.
        needs_host = is_connected(finding) or (server is not None and server.vm_state != "error")
        if server and server.host and judged.seen.host_acts and needs_host:
            return self.hosts.carry_out(finding, server.host, self.policy)
        if finding.remedy is Remedy.REMOVE_MAPPING and finding.mapping:
            return self.nova.soft_delete_mapping(finding.mapping, server)
        if finding.remedy is Remedy.REMOVE_ATTACHMENT and finding.attachment:
            return self.cinder.delete_attachment(finding.attachment)
        return Outcome(result=Result.FAILED, detail=f"no door carries out {finding.remedy}")


def _rows(finding: Finding) -> tuple[FindingKey, Remedy]:
    """Return the version of the rows and what is done with them: a server that was stopped may have another code."""
    return finding.key._replace(code=""), finding.remedy


def _living(judged: Judged) -> Server | None:
    return next((server for server in judged.seen.after.servers if not server.deleted), None)


class UnpreparedError(Exception):
    """What must be done before a write was not done; the message says why, and the result what the write came to."""

    def __init__(self, why: str, result: Result = Result.FAILED) -> None:
        super().__init__(why)
        self.result = result
