# SPDX-License-Identifier: Apache-2.0
"""Checks of the databases: they answer, are not behind, and have a schema that dedangle knows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from dedangle.doctor.checks import CINDER_DATABASE, DATABASE, Check, State, as_sentence, unknown
from dedangle.reconcile.server import Reconciler
from dedangle.systems.causality import VARIABLE
from dedangle.systems.cinder.database import CinderDatabase
from dedangle.systems.database_role import Role, role
from dedangle.systems.nova.about import RELEASES, revision
from dedangle.systems.nova.cells import Cell

_TO_PRIMARY = (
    "Configure the primary server: for a cell with nova-manage cell_v2 update_cell --database_connection, for the API "
    "database with [api_database] connection in nova.conf"
)


def databases(cells: Sequence[Cell]) -> Iterator[Check]:
    """Check that each database answers and can be written, and which schema and server it has."""
    for cell, answer in [
        (cell, cell.ask(lambda connection: (revision(connection), role(connection)))) for cell in cells
    ]:
        name, found = f"{DATABASE} {cell.name}", answer()
        if not found.complete:
            yield Check(
                name,
                State.FAIL,
                as_sentence(found.why),
                "Check its address and password: nova-manage cell_v2 list_cells --verbose",
            )
            continue
        ((version, server),) = found.rows
        release = RELEASES.get(version)
        troubles, steps = [], []
        if not release:
            troubles.append("This schema belongs to no Nova release that dedangle is tested with.")
            steps.append("If a Nova upgrade is not finished, finish it: nova-manage api_db sync; nova-manage db sync")
        trouble = not_primary(server)
        if trouble:
            troubles.append(f"{trouble} dedangle needs the database server that Nova writes to.")
            steps.append(_TO_PRIMARY)
        schema = f"schema of Nova {release} ({version})" if release else f"schema {version}"
        sentence = " ".join([f"The database answers: {schema}, {served_by(server)}.", *troubles])
        yield Check(name, State.WARNING if troubles else State.OK, sentence, "; ".join(steps))


def served_by(server: Role) -> str:
    """Return the kind of the database server, and whether reads wait for the other nodes of its cluster."""
    if server.galera:
        mask = f"{VARIABLE}={server.sync_wait}"
        waits = (
            f"reads and writes wait for the other nodes ({mask})" if server.sync_wait else f"reads do not wait ({mask})"
        )
        return f"on a Galera node of {server.product} ({server.galera}), where {waits}"
    return "in a file" if server.product == "SQLite" else f"on a single server of {server.product}"


def not_primary(server: Role) -> str:
    """Return why reads there may be old or writes may fail; empty if the server is a primary."""
    reasons = []
    if server.read_only:
        reasons.append(f"It is read-only ({server.read_only}).")
    if server.replica:
        reasons.append(f"It is a replica ({server.replica}): the newest rows may be missing.")
    return " ".join(reasons)


def cinder_database(database: CinderDatabase, reconciler: Reconciler, now: datetime) -> Check:
    """Check that the database of [dedangle] cinder_database answers, and that it is the one of Cinder's API."""
    name, step = CINDER_DATABASE, "Name the database that [database] connection of cinder.conf names, no copy of it."
    links = reconciler.nova.links("").rows
    shown = (
        attachment.id for link in links for attachment in reconciler.cinder.attachments_of_volume(link.volume_id).rows
    )
    attachment_id = next(shown, "")
    found = database.has(attachment_id)
    if not found.complete:
        return Check(name, State.FAIL, as_sentence(found.why), step)
    if not attachment_id:
        return unknown(name, "the database answers, but Cinder's API shows no attachment of Nova to look for in it")
    if not any(found.rows):
        sentence = (
            f"The database does not have attachment {attachment_id}, but Cinder's API shows it. "
            "The database belongs to another Cinder, or is an old copy."
        )
        return Check(name, State.FAIL, sentence, step)
    sentence = f"The database has attachment {attachment_id}, as Cinder's API shows"
    (server,) = database.role().rows or (None,)
    if server is None:
        return unknown(name, f"{sentence[0].lower()}{sentence[1:]}, but does not report what kind of server it is")
    stale = database.why_stale(now)
    if stale:
        return Check(name, State.FAIL, f"{as_sentence(stale)} A sweep judges nothing by it.", step)
    trouble = not_primary(server)
    if trouble:
        if server.seconds_behind is not None:
            trouble += f" It is {server.seconds_behind:.0f} s behind."
        late = "A sweep may find the newest rows only in its next run."
        return Check(name, State.WARNING, f"{sentence}, {served_by(server)}. {trouble} {late}", step)
    return Check(name, State.OK, f"{sentence}, {served_by(server)}.")
