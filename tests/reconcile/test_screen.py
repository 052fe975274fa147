# SPDX-License-Identifier: Apache-2.0
"""The bulk comparison against its definition, on small worlds in which everything meets everything."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedangle.core import packing, planning
from dedangle.reconcile import spool
from dedangle.reconcile.screen import Gathered, Screen


def _ident(kind: int, number: int) -> str:
    return f"{number:08x}-0000-4000-8000-{kind:012x}"


SERVERS = [_ident(1, number) for number in range(4)]
VOLUMES = [_ident(2, number) for number in range(3)]
ATTACHMENTS = [_ident(3, number) for number in range(4)]
CELLS = ("cell0", "cell1")


class Link(NamedTuple):
    cell: str
    attachment: str | None
    server: str
    volume: str


class Attached(NamedTuple):
    server: str | None
    volume: str
    status: str


class World(NamedTuple):
    living: set[tuple[str, str]]
    """(cell, server)."""
    links: list[Link]
    attachments: dict[str, Attached]
    quiet: set[str]


WORLDS = st.builds(
    World,
    living=st.sets(st.tuples(st.sampled_from(CELLS), st.sampled_from(SERVERS))),
    links=st.lists(
        st.builds(
            Link,
            cell=st.sampled_from(CELLS),
            attachment=st.sampled_from([None, *ATTACHMENTS]),
            server=st.sampled_from(SERVERS),
            volume=st.sampled_from(VOLUMES),
        ),
        max_size=6,
    ),
    attachments=st.dictionaries(
        st.sampled_from(ATTACHMENTS),
        st.builds(
            Attached,
            server=st.sampled_from([None, *SERVERS]),
            volume=st.sampled_from(VOLUMES),
            status=st.sampled_from(["attached", "attached", "reserved", "detaching"]),
        ),
    ),
    quiet=st.sets(st.sampled_from(VOLUMES)),
)


def screen(world: World) -> Screen:
    with Gathered() as gathered:
        return _screen(world, gathered)


def _screen(world: World, gathered: Gathered, forgotten: Sequence[str] = ()) -> Screen:
    for cell in CELLS:
        servers = packing.rows_of(((server,), b"") for of, server in world.living if of == cell)
        links = packing.rows_of(
            (each[1:], packing.status_byte("attached")) for each in world.links if each.cell == cell
        )
        gathered.take([packing.Servers(cell, servers), packing.Links(cell, links)])
    attachments = packing.rows_of(
        ((ident, each.server, each.volume), packing.status_byte(each.status))
        for ident, each in world.attachments.items()
    )
    volumes = packing.rows_of(((each,), b"") for each in world.quiet)
    # Attachments appear twice if Cinder's list was restarted.
    gathered.take([packing.Attachments(attachments), packing.QuietVolumes(volumes), packing.Attachments(attachments)])
    for each in forgotten:
        gathered.forget(each)
    return gathered.screen()


def suspects(world: World) -> set[str]:
    """A pair is consistent if the only mapping of a live server for the volume names a quiet attachment."""
    found = set()
    paired = set()
    for link in world.links:
        attached = world.attachments.get(link.attachment or "")
        alike = attached is not None and attached[:2] == (link.server, link.volume)
        if alike:
            paired.add(link.attachment)
        whole = alike and attached.status == "attached" and link.volume in world.quiet
        alone = sum(each[2:] == link[2:] for each in world.links) == 1
        if not (whole and alone and (link.cell, link.server) in world.living):
            found.add(link.server)
    found |= {each.server for ident, each in world.attachments.items() if each.server and ident not in paired}
    return found


@settings(max_examples=300)
@given(WORLDS)
def test_the_screen_is_its_definition(world: World) -> None:
    seen = screen(world)
    assert seen.suspects == sorted(suspects(world))
    assert seen.paired == sum(each.server not in seen.suspects for each in world.links)
    assert {each.attachment_id for each in seen.ownerless} == {
        ident for ident, each in world.attachments.items() if each.server is None
    }
    totals: Counter[planning.Scope] = Counter({planning.RUN: len(world.attachments)})
    totals.update(("cell", each.cell) for each in world.links)
    assert seen.totals == totals
    assert seen.servers == len(world.living)
    assert seen.volumes == len({each.volume for each in (*world.links, *world.attachments.values())})


@given(WORLDS)
def test_of_a_cell_that_was_not_read_to_its_end_nothing_counts(world: World) -> None:
    with Gathered() as gathered:
        seen = _screen(world, gathered, ["cell1"])
    rest = world._replace(
        living={each for each in world.living if each[0] == "cell0"},
        links=[each for each in world.links if each.cell == "cell0"],
    )
    of_rest = screen(rest)
    assert (seen.suspects, seen.paired, seen.servers) == (of_rest.suspects, of_rest.paired, of_rest.servers)
    assert (seen.every_cell_read, of_rest.every_cell_read) == (False, True)
    assert seen.totals == +Counter({**of_rest.totals, planning.RUN: len(world.attachments)})


@pytest.mark.parametrize(
    ("attachments", "read", "total"), [(9000, 3000, 3000), (9000, 900, 1000), (9000, 0, 1000), (800, 300, 800)]
)
def test_a_run_that_sees_less_bears_no_more_removals(attachments: int, read: int, total: int) -> None:
    # Below 1,000 attachments no percentage holds: a fleet that has more shall not come under that by being half read.
    attached = packing.status_byte("attached")
    rows = [((_ident(3, number), _ident(1, number), VOLUMES[0]), attached) for number in range(attachments)]
    with Gathered() as gathered:
        gathered.take([packing.Attachments(packing.rows_of(rows))])
        gathered.take([packing.Links("cell0", packing.rows_of(rows[:read]))])
        gathered.take([packing.Links("cell1", packing.rows_of(rows[read:]))])
        gathered.forget("cell1")
        seen = gathered.screen()
    assert seen.totals[planning.RUN] == total


def test_an_attachment_without_a_server_is_told_with_its_status() -> None:
    (finding,) = screen(World(set(), [], {ATTACHMENTS[0]: Attached(None, VOLUMES[0], "reserved")}, set())).ownerless
    assert finding.volume_id == VOLUMES[0]
    assert f"attachment {ATTACHMENTS[0]} is reserved" in finding.evidence[0]


def test_a_spool_gives_back_what_was_written_to_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "_BUFFER", 100)
    rows = [bytes([number % 251, number // 251]) * 8 for number in range(1000)]
    with contextlib.ExitStack() as files:
        kept = spool.Spool(16, files)
        for start in range(0, len(rows), 7):
            kept.add(b"".join(rows[start : start + 7]))
        parts = [kept.part(number) for number in range(spool.PARTS)]
    assert sorted(each for part in parts for each in part) == sorted(rows)
    assert all(each[0] % spool.PARTS == number for number, part in enumerate(parts) for each in part)


@pytest.mark.parametrize("place", ["gone", None])
def test_no_room_for_the_rows_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str | None) -> None:
    monkeypatch.setattr(tempfile, "tempdir", place and str(tmp_path / place))
    # Without TMPDIR and /tmp it looks elsewhere, and finds no place to write either.
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "nowhere")])
    monkeypatch.setattr(spool, "_BUFFER", 1)
    with contextlib.ExitStack() as files, pytest.raises(spool.NoRoomError, match="TMPDIR"):
        spool.Spool(16, files).add(bytes(16))
