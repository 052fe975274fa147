# SPDX-License-Identifier: Apache-2.0
"""Checks of everything that a run depends on. Every check is made, even if another one fails."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from multiprocessing.pool import ThreadPool
from pathlib import Path

from dedangle.core.records import Reading, StrEnum
from dedangle.reconcile.server import Reconciler
from dedangle.state import coordination
from dedangle.state.writable import why_unwritable
from dedangle.systems.cinder.api import MICROVERSION, CinderApi
from dedangle.systems.nova.about import ComputeHost, compute_hosts
from dedangle.systems.nova.api import NovaApi
from dedangle.systems.nova.cells import Cell
from dedangle.systems.nova.rpc import NovaRpc

# Names of checks.
CONFIGURATION, CREDENTIALS, SERVICE_TOKEN = "configuration", "credentials", "service token"
DATABASE = "database"
"""The name of the cell follows, or "API database"."""
CINDER_MICROVERSION, CINDER_FILTERS, CLOCK = "cinder microversion", "cinder filters", "clock"
ALL_PROJECTS, ALL_IN_CINDER, ALL_IN_NOVA = "all projects", "all projects in cinder", "all projects in nova"
CINDER_DATABASE, HOSTS, STATE_DIR, LOCK = "cinder database", "hosts", "state_dir", "lock"

# How many compute hosts are asked, all at once: hosts that do not answer cost one timeout together.
_SAMPLE = 8
_SKEW = timedelta(seconds=5)
TO_CINDER = (
    "Compare the address with: openstack catalog list. [cinder] catalog_info, os_region_name and endpoint_template of "
    "nova.conf choose it. Then check that cinder-api runs there."
)


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAIL = "fail"


@dataclasses.dataclass(frozen=True)
class Check:
    name: str
    state: State
    sentence: str
    next_step: str = ""


def unknown(name: str, why: str) -> Check:
    """Return a check that could not be made, with the reason."""
    return Check(
        name, State.WARNING, f"Not checked: {why.rstrip('.')}.", "Fix the cause, then run again: dedangle doctor"
    )


def cinder_filters(cinder: CinderApi, now: datetime, service_down_time: timedelta) -> Iterator[Check]:
    """Check Cinder's microversion, the filter that every run needs, and Cinder's clock."""
    yield _microversion(cinder.newest_microversion())
    answer = cinder.time_of_filtered_list()
    if not answer.complete:
        step = TO_CINDER
        if "answered 400" in answer.why:
            step = "Restore the default resource_filters.json of cinder-api (option resource_query_filters_file)."
        yield Check(CINDER_FILTERS, State.FAIL, as_sentence(answer.why), step)
        yield unknown(CLOCK, "Cinder did not list attachments")
        return
    yield Check(CINDER_FILTERS, State.OK, "Cinder lists the attachments of a server.")
    yield clock(answer.rows, now, service_down_time)


def _microversion(newest: Reading[str]) -> Check:
    name = CINDER_MICROVERSION
    if not newest.complete:
        return Check(name, State.FAIL, as_sentence(newest.why), TO_CINDER)
    if not newest.rows:
        sentence = f"Cinder does not report its newest microversion. dedangle uses {MICROVERSION}."
        return Check(name, State.WARNING, sentence, "Run: openstack versions show")
    if _numbers(newest.rows[0]) < _numbers(MICROVERSION):
        sentence = f"Cinder's newest microversion is {newest.rows[0]}, but dedangle and Nova need {MICROVERSION}."
        return Check(name, State.FAIL, sentence, "Upgrade Cinder, or set [cinder] catalog_info to its v3 API.")
    return Check(name, State.OK, f"Cinder's newest microversion is {newest.rows[0]}. dedangle uses {MICROVERSION}.")


def clock(
    times: Sequence[datetime],
    now: datetime,
    service_down_time: timedelta,
    *,
    name: str = CLOCK,
    service: str = "Cinder",
) -> Check:
    """Compare the clock of this machine with that of a service, to the second."""
    if not times:
        return unknown(name, f"{service}'s answers have no Date header")
    skew = abs(now - times[0])
    sentence = f"The clocks of this machine and of {service} differ by {skew.total_seconds():.0f} s."
    if skew <= _SKEW:
        return Check(name, State.OK, sentence)
    state = State.WARNING if skew < service_down_time else State.FAIL
    return Check(
        name,
        state,
        f"{sentence} dedangle uses the clock for the age of rows and for the state of hosts.",
        "Correct the clock; to compare it, run: chronyc tracking",
    )


def service_token(headers: Iterable[str]) -> Check:
    """Check that requests to Cinder have no service token. With one, Cinder does not ask Nova before it deletes."""
    if "x-service-token" in map(str.lower, headers):
        return Check(
            SERVICE_TOKEN,
            State.FAIL,
            "dedangle sends a service token. With it Cinder also deletes attachments that Nova still uses.",
            "Set the credentials of an administrator without a service token in [dedangle].",
        )
    sentence = "dedangle sends no service token, so Cinder asks Nova before it deletes an attachment."
    return Check(SERVICE_TOKEN, State.OK, sentence)


def sees_all(reconciler: Reconciler, power: NovaApi) -> Iterator[Check]:
    """Check that the credentials see other projects, by rows that they must see."""
    in_cinder, in_nova = ALL_IN_CINDER, ALL_IN_NOVA
    links = reconciler.nova.links("")
    project_id = reconciler.cinder.project_id
    others = [link for link in links.rows if link.project_id != project_id]
    if not links.complete or not others:
        why = links.why or "no active server of another project has a volume that could prove it"
        if any(reconciler.cinder.sees_other_projects().rows):
            yield Check(in_cinder, State.OK, "Cinder shows a volume of another project.")
        else:
            yield unknown(in_cinder, why)
        yield unknown(in_nova, why)
        return
    doubt = reconciler.doubt()
    if doubt:
        yield Check(
            in_cinder,
            State.FAIL,
            as_sentence(doubt),
            "Set a project-scoped administrator in [dedangle] or OS_*, and check [cinder] os_region_name.",
        )
    else:
        yield Check(in_cinder, State.OK, "Cinder shows an attachment of a server of another project.")
    hidden = power.why_hidden(others[0].server_id)
    if hidden:
        yield Check(
            in_nova,
            State.WARNING,
            f"{as_sentence(hidden)} Only cleanup --restart needs Nova's API.",
            "Set a project-scoped administrator in [dedangle] or OS_*.",
        )
    else:
        yield Check(in_nova, State.OK, f"Nova shows server {others[0].server_id} of another project.")


def hosts(cells: Sequence[Cell], rpc: NovaRpc, now: datetime, service_down_time: timedelta) -> Check:
    """Check how many of a sample of compute hosts answer over Nova's message bus and run dedangle."""
    waiting = [cell.ask(compute_hosts(now, service_down_time)) for cell in cells]
    answers = [read() for read in waiting]
    if not all(answer.complete for answer in answers):
        return unknown(HOSTS, "; ".join(answer.why for answer in answers if answer.why))
    known: list[ComputeHost] = [host for answer in answers for row in answer.rows for host in row]
    up = sorted(host.name for host in known if host.is_up)
    if not up:
        return Check(
            HOSTS, State.WARNING, f"None of {len(known)} compute hosts is up.", "Run: openstack compute service list"
        )
    sample = up[:: -(-len(up) // _SAMPLE)]
    with ThreadPool(len(sample)) as threads:
        asked = list(threads.map(rpc.about, sample))
    acting = [answer for answer in asked if answer.complete]
    releases = ", ".join(sorted({answer.rows[0] for answer in acting}))
    sentence = f"Compute hosts that are up: {len(up)}; asked: {len(sample)}; running dedangle: {len(acting)}"
    sentence += f" ({releases})." if acting else "."
    if len(acting) == len(sample):
        return Check(HOSTS, State.OK, sentence)
    first = next(answer.why for answer in asked if not answer.complete)
    return Check(
        HOSTS,
        State.WARNING,
        f"{sentence} The first other host: {as_sentence(first)} On these hosts, findings that need proof from the host "
        "are only reported.",
        "Deploy dedangle-nova-compute there, or use dedangle cleanup --no-host.",
    )


def state_dir(path: Path) -> Check:
    """Check that a run can write its journal."""
    if not path.exists():
        sentence = f"{path} does not exist. The first run with --execute creates it for its own user."
        return Check(
            STATE_DIR, State.WARNING, sentence, f"Create it for the user of the runs: install -d -m 750 {path}"
        )
    why = why_unwritable(path)
    if why:
        sentence = f"{path} cannot be written: {why}. Without its journal dedangle changes nothing."
        return Check(
            STATE_DIR,
            State.FAIL,
            sentence,
            "Make it writable for the user of the runs, or set another state_dir in [dedangle].",
        )
    return Check(STATE_DIR, State.OK, f"{path} can be written.")


def lock(path: Path, url: str | None) -> Check:
    """Check which lock prevents two runs at the same time: that of [dedangle] coordination_url, or a file."""
    own = f"A file lock in {path} prevents two runs at the same time on this machine, but not on several machines"
    try:
        kept = coordination.guarantee(url, member="dedangle-doctor") if url else own
    except coordination.CoordinationError as error:
        return Check(
            LOCK, State.FAIL, str(error), "Correct [dedangle] coordination_url. Until then a sweep changes nothing."
        )
    return Check(
        LOCK, State.OK, f"{kept}. The lock only saves work: every write first checks that its row is unchanged."
    )


def as_sentence(why: object) -> str:
    why = str(why)
    return f"{why[0].upper()}{why[1:].rstrip('.')}."


def _numbers(microversion: str) -> tuple[int, ...]:
    return tuple(map(int, microversion.split(".")))
