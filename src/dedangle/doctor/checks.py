# SPDX-License-Identifier: Apache-2.0
"""What a run depends on, examined one by one: what fails keeps no other from being looked at."""

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
from dedangle.systems.causality import VARIABLE
from dedangle.systems.cinder.api import MICROVERSION, CinderApi
from dedangle.systems.cinder.database import CinderDatabase
from dedangle.systems.database_role import Role, role
from dedangle.systems.nova.about import RELEASES, ComputeHost, compute_hosts, revision
from dedangle.systems.nova.api import NovaApi
from dedangle.systems.nova.cells import Cell
from dedangle.systems.nova.rpc import NovaRpc

# Names of checks.
CONFIGURATION, CREDENTIALS, SERVICE_TOKEN = "configuration", "credentials", "service token"
DATABASE = "database"
"""Followed by the name of the cell, or by API database."""
CINDER_MICROVERSION, CINDER_FILTERS, CLOCK = "cinder microversion", "cinder filters", "clock"
ALL_PROJECTS, ALL_IN_CINDER, ALL_IN_NOVA = "all projects", "all projects in cinder", "all projects in nova"
CINDER_DATABASE, HOSTS, STATE_DIR, LOCK = "cinder database", "hosts", "state_dir", "lock"

# Each that is silent costs one timeout, all of them together.
_SAMPLE = 8
_SKEW = timedelta(seconds=5)
_TO_PRIMARY = (
    "Name that server: for a cell with nova-manage cell_v2 update_cell --database_connection, for the API database in "
    "[api_database] connection of nova.conf"
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
    """A check that could not be made, because another one failed."""
    return Check(
        name, State.WARNING, f"Not checked: {why.rstrip('.')}.", "See to what failed, and run: dedangle doctor"
    )


def databases(cells: Sequence[Cell]) -> Iterator[Check]:
    """Whether each database answers and can be written, which release's schema it has, and what serves it."""
    for cell, answer in [
        (cell, cell.ask(lambda connection: (revision(connection), role(connection)))) for cell in cells
    ]:
        name, found = f"{DATABASE} {cell.name}", answer()
        if not found.complete:
            yield Check(
                name,
                State.FAIL,
                _sentence(found.why),
                "Compare its address and password with: nova-manage cell_v2 list_cells --verbose",
            )
            continue
        ((version, server),) = found.rows
        release = RELEASES.get(version)
        troubles, steps = [], []
        if not release:
            troubles.append("The schema is the last of no release that dedangle is tested with.")
            steps.append("Finish an upgrade that is half done: nova-manage api_db sync; nova-manage db sync")
        trouble = not_primary(server)
        if trouble:
            troubles.append(f"{trouble} dedangle needs the server that takes Nova's writes.")
            steps.append(_TO_PRIMARY)
        schema = f"schema of Nova {release} ({version})" if release else f"schema {version}"
        sentence = " ".join([f"It answers, with the {schema}, {served_by(server)}.", *troubles])
        yield Check(name, State.WARNING if troubles else State.OK, sentence, "; ".join(steps))


def served_by(server: Role) -> str:
    """What kind of server it is, and how long a read of dedangle's waits there."""
    if server.galera:
        mask = f"{VARIABLE}={server.sync_wait}"
        waits = (
            f"reads and writes wait for the other nodes' ({mask})" if server.sync_wait else f"nothing waits ({mask})"
        )
        return f"on a Galera node of {server.product} ({server.galera}), where {waits}"
    return "in a file" if server.product == "SQLite" else f"on a single server of {server.product}"


def not_primary(server: Role) -> str:
    """Why what is read there may be old, or cannot be changed; empty where it takes writes itself."""
    told = []
    if server.read_only:
        told.append(f"It is read-only ({server.read_only}).")
    if server.replica:
        told.append(f"It is a replica ({server.replica}): what was written a moment ago may be missing.")
    return " ".join(told)


def cinder_filters(cinder: CinderApi, now: datetime, service_down_time: timedelta) -> Iterator[Check]:
    """Whether Cinder offers the microversion and the filter that every run needs, and whether its clock is ours."""
    yield _microversion(cinder.newest_microversion())
    told = cinder.time_of_filtered_list()
    if not told.complete:
        step = "Look whether cinder-api runs, and at its log."
        if "answered 400" in told.why:
            step = "Give cinder-api its resource_filters.json back (resource_query_filters_file)."
        yield Check(CINDER_FILTERS, State.FAIL, _sentence(told.why), step)
        yield unknown(CLOCK, "Cinder did not list attachments")
        return
    yield Check(CINDER_FILTERS, State.OK, "Cinder lists the attachments of a server.")
    yield clock(told.rows, now, service_down_time)


def _microversion(newest: Reading[str]) -> Check:
    name = CINDER_MICROVERSION
    if not newest.complete:
        return Check(name, State.FAIL, _sentence(newest.why), "Look at: openstack catalog show block-storage")
    if not newest.rows:
        sentence = f"Cinder does not tell which it offers; {MICROVERSION} is used."
        return Check(name, State.WARNING, sentence, "Look at: openstack versions show")
    if _numbers(newest.rows[0]) < _numbers(MICROVERSION):
        sentence = f"Cinder offers {newest.rows[0]}, and dedangle and Nova need {MICROVERSION}."
        return Check(name, State.FAIL, sentence, "Upgrade Cinder, or name its v3 in [cinder] catalog_info.")
    return Check(name, State.OK, f"Cinder offers {newest.rows[0]}; {MICROVERSION} is used.")


def clock(told: Sequence[datetime], now: datetime, service_down_time: timedelta) -> Check:
    """Compare Cinder's time, to the second, with ours."""
    if not told:
        return unknown(CLOCK, "Cinder's answers bear no date")
    skew = abs(now - told[0])
    sentence = f"This machine's clock and Cinder's are {skew.total_seconds():.0f} s apart."
    if skew <= _SKEW:
        return Check(CLOCK, State.OK, sentence)
    state = State.WARNING if skew < service_down_time else State.FAIL
    return Check(
        CLOCK, state, f"{sentence} Ages and hosts that are down are told by the clock.", "Set it: chronyc tracking"
    )


def service_token(headers: Iterable[str]) -> Check:
    """Whether Cinder is asked without a service token: with one it would not ask Nova before it deletes."""
    if "x-service-token" in map(str.lower, headers):
        return Check(
            SERVICE_TOKEN,
            State.FAIL,
            "A service token is sent, with which Cinder deletes attachments that Nova still uses.",
            "Name credentials of a plain administrator in [dedangle].",
        )
    sentence = "None is sent: Cinder asks Nova itself before it deletes an attachment."
    return Check(SERVICE_TOKEN, State.OK, sentence)


def sees_all(reconciler: Reconciler, power: NovaApi) -> Iterator[Check]:
    """Whether the credentials see other projects, proved by rows that they must see."""
    in_cinder, in_nova = ALL_IN_CINDER, ALL_IN_NOVA
    links = reconciler.nova.links("")
    project_id = reconciler.cinder.project_id
    others = [link for link in links.rows if link.project_id != project_id]
    if not links.complete or not others:
        why = links.why or "no active server of another project has a volume, so nothing proves it"
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
            _sentence(doubt),
            "Name a project-scoped administrator in [dedangle] or by OS_*; compare [cinder] os_region_name.",
        )
    else:
        yield Check(in_cinder, State.OK, "Cinder shows an attachment of a server of another project.")
    hidden = power.why_hidden(others[0].server_id)
    if hidden:
        yield Check(
            in_nova,
            State.WARNING,
            f"{_sentence(hidden)} Only cleanup --restart asks Nova's API.",
            "Name a project-scoped administrator in [dedangle] or by OS_*.",
        )
    else:
        yield Check(in_nova, State.OK, f"Nova shows server {others[0].server_id} of another project.")


def cinder_database(database: CinderDatabase, reconciler: Reconciler) -> Check:
    """Whether what [dedangle] cinder_database names answers, and is what Cinder's API speaks for."""
    name, step = CINDER_DATABASE, "Name the database that [database] connection of cinder.conf names, no copy of it."
    links = reconciler.nova.links("").rows
    shown = (each.id for link in links for each in reconciler.cinder.attachments_of_volume(link.volume_id).rows)
    attachment_id = next(shown, "")
    found = database.has(attachment_id)
    if not found.complete:
        return Check(name, State.FAIL, _sentence(found.why), step)
    if not attachment_id:
        return unknown(name, "it answers, and Cinder's API shows no attachment of Nova's to look for in it")
    if not any(found.rows):
        sentence = f"It lacks attachment {attachment_id}, which Cinder's API shows: it is another's, or an old copy."
        return Check(name, State.FAIL, sentence, step)
    sentence = f"It has attachment {attachment_id}, which Cinder's API shows"
    (server,) = database.role().rows or (None,)
    if server is None:
        return unknown(name, f"{sentence[0].lower()}{sentence[1:]}, and does not tell which server it is on")
    trouble = not_primary(server)
    if trouble:
        late = "A sweep may find what it does not show yet only in its next run."
        return Check(name, State.WARNING, f"{sentence}, {served_by(server)}. {trouble} {late}", step)
    return Check(name, State.OK, f"{sentence}, {served_by(server)}.")


def hosts(cells: Sequence[Cell], rpc: NovaRpc, now: datetime, service_down_time: timedelta) -> Check:
    """Which of a sample of the compute hosts that are up can be asked over Nova's message bus, and run dedangle."""
    waiting = [cell.ask(compute_hosts(now, service_down_time)) for cell in cells]
    answers = [read() for read in waiting]
    if not all(answer.complete for answer in answers):
        return unknown(HOSTS, "; ".join(answer.why for answer in answers if answer.why))
    known: list[ComputeHost] = [host for answer in answers for row in answer.rows for host in row]
    up = sorted(host.name for host in known if host.is_up)
    if not up:
        return Check(
            HOSTS, State.WARNING, f"None of {len(known)} compute hosts is up.", "openstack compute service list"
        )
    sample = up[:: -(-len(up) // _SAMPLE)]
    with ThreadPool(len(sample)) as threads:
        asked = list(threads.map(rpc.about, sample))
    acting = [each for each in asked if each.complete]
    releases = ", ".join(sorted({answer.rows[0] for answer in acting}))
    sentence = f"Compute hosts that are up: {len(up)}; asked: {len(sample)}; running dedangle: {len(acting)}"
    sentence += f" ({releases})." if acting else "."
    if len(acting) == len(sample):
        return Check(HOSTS, State.OK, sentence)
    first = next(each.why for each in asked if not each.complete)
    return Check(
        HOSTS,
        State.WARNING,
        f"{sentence} The first that does not: {_sentence(first)}",
        "What needs a host's word is only reported there; deploy dedangle-nova-compute, or use cleanup --no-host.",
    )


def state_dir(path: Path) -> Check:
    """Whether a run could write down what it means to do."""
    if not path.exists():
        sentence = f"{path} does not exist; the first run with --execute makes it, for its own user."
        return Check(STATE_DIR, State.WARNING, sentence, f"Make it for the user of the runs: install -d -m 750 {path}")
    why = why_unwritable(path)
    if why:
        sentence = f"{path} cannot be written: {why}. Without a journal nothing is changed."
        return Check(STATE_DIR, State.FAIL, sentence, "Give it to the user of the runs, or name another in [dedangle].")
    return Check(STATE_DIR, State.OK, f"{path} can be written.")


def lock(path: Path, url: str | None) -> Check:
    """Which lock keeps runs apart, and whose: at the URL of [dedangle] coordination_url, else a file."""
    own = f"A file lock in {path} keeps the runs of this machine apart, not those of others"
    try:
        kept = coordination.guarantee(url, member="dedangle-doctor") if url else own
    except coordination.CoordinationError as error:
        return Check(
            LOCK, State.FAIL, str(error), "Correct [dedangle] coordination_url: no sweep changes anything before."
        )
    return Check(
        LOCK, State.OK, f"{kept}; no run undoes another's work either way, as every write compares before it swaps."
    )


def _sentence(why: object) -> str:
    why = str(why)
    return f"{why[0].upper()}{why[1:].rstrip('.')}."


def _numbers(microversion: str) -> tuple[int, ...]:
    return tuple(map(int, microversion.split(".")))
