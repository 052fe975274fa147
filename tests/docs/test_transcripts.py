# SPDX-License-Identifier: Apache-2.0
"""The transcripts of the manual: their commands are typed in a lab, and a terminal shows what the page shows.

With DEDANGLE_WRITE_TRANSCRIPTS in the environment the page is written from what the terminal shows.
"""

import contextlib
import fcntl
import os
import re
import sqlite3
import struct
import subprocess
import termios
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cases.stage import Stage
from dedangle.lab import rows
from dedangle.lab.__main__ import write_use
from dedangle.lab.cloud import Cloud
from shell import Dedangle

pytestmark = pytest.mark.thorough
PAGE = Path(__file__).parents[2] / "docs" / "transcripts.md"
COLUMNS = 80
WRITE = "DEDANGLE_WRITE_TRANSCRIPTS" in os.environ
_BLOCK = re.compile(r"^## (?P<title>.*?)\n(?P<prose>.*?)^```console\n(?P<shown>.*?)^```$", re.M | re.S)
# Of a server, a volume or an attachment, of an entry of the journal, of a project; and the short id of a table.
_ID = re.compile(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{12}-\d+|\b[0-9a-f]{32}\b|(?<![-\w])[0-9a-f]{8}\b(?!-)"
)
_CHANGING = {
    r"\bRun [0-9a-f]{12}, [0-9.]+ s:": "Run ID, N s:",
    r"\d{4}-\d\d-\d\dT[0-9:.]+Z": "TIME",
    r"\(row\s+\d+\)": "(row N)",
}
PV = {
    "cinder.csi.openstack.org/cluster": "prod-1",
    "csi.storage.k8s.io/pv/name": "pvc-0c6a5a0e",
    "csi.storage.k8s.io/pvc/name": "data-postgres-0",
    "csi.storage.k8s.io/pvc/namespace": "shop",
}


def reserved_volume(stage: Stage, _: Dedangle) -> list[str]:
    server, volume = stage.user.server("shop-web", 0), stage.user.volume(name="shop-data")
    stage.breaks.reserve_attachment(server.id, volume)
    return [volume]


def detaching_volume(stage: Stage, _: Dedangle) -> list[str]:
    stage.edit_volume(stage.user.volume(name="backup-7"), status="detaching")
    return []


def missing_volume(stage: Stage, _: Dedangle) -> list[str]:
    server = stage.user.server("orders-db", 1)
    stage.breaks.delete_volume_behind(server.volumes[1])
    stage.user.stop(server.id)
    return []


def lost_attachment(stage: Stage, _: Dedangle) -> list[str]:
    server = stage.user.server("app-1", 1)
    stage.breaks.lose_attachment(server.id, server.volumes[1])
    return []


def persistent_volume(stage: Stage, dedangle: Dedangle) -> list[str]:
    node, volume = stage.user.server("node-3", 0), stage.user.volume(name=PV["csi.storage.k8s.io/pv/name"])
    stage.user.user.cinder("POST", f"/volumes/{volume}/metadata", {"metadata": PV}, expect=200)
    stage.user.attach(node.id, volume)
    stage.breaks.delete_server_while_cinder_fails(node.id)
    assert dedangle("cleanup", "--volume", node.volumes[0], "--execute", "--yes").code == 0
    return []


def mapping_of_deleted_server(stage: Stage, _: Dedangle) -> list[str]:
    server = stage.user.server("late", 0)
    stage.breaks.mapping_of_deleted_server(server.id)
    return [server.id]


def wrong_status(stage: Stage, _: Dedangle) -> list[str]:
    server = stage.user.server("ci-runner", 1)
    stage.edit_volume(server.volumes[1], status="available", attach_status="detached")
    return [server.volumes[1]]


def restored_cinder(stage: Stage, _: Dedangle) -> list[str]:
    # dedangle lists servers by their ids, so the names are given in that order.
    servers = sorted((stage.user.server("new", 0) for _ in range(3)), key=lambda server: server.id)
    for server, name in zip(servers, ("archive", "mail", "search"), strict=True):
        stage.user.user.nova("PUT", f"/servers/{server.id}", {"server": {"name": name}}, expect=200)
    volumes = [stage.user.volume(name="data") for _ in servers]
    live = stage.cloud.home.database_file("cinder")
    with closing(sqlite3.connect(live)) as cinder, closing(sqlite3.connect(":memory:")) as backup:
        cinder.backup(backup)
        for server, volume in zip(servers, volumes, strict=True):
            stage.user.attach(server.id, volume)
        backup.backup(cinder)
    return []


def mapping_never_attached(stage: Stage, _: Dedangle) -> list[str]:
    server = stage.user.server("batch-1", 0)
    stage.breaks.mapping_never_attached(server.id, stage.user.volume(name="batch-data"))
    return []


def removed_mapping(stage: Stage, dedangle: Dedangle) -> list[str]:
    server = stage.user.server("wiki", 1)
    stage.breaks.lose_attachment(server.id, server.volumes[1])
    stage.user.stop(server.id)
    rows.settle(stage.cloud.home)
    assert dedangle("cleanup", server.id, "--no-host", "--execute", "--yes").code == 0
    return []


# Each returns the ids that a person has in hand, in the order in which they are typed first.
BUILT: dict[str, Callable[[Stage, Dedangle], list[str]]] = {
    "The id of a volume": reserved_volume,
    "A volume that stays detaching": detaching_volume,
    "The name of a server": missing_volume,
    "A live migration that fails": lost_attachment,
    "A PersistentVolume": persistent_volume,
    "An alert": mapping_of_deleted_server,
    "An exit code in a pipeline": wrong_status,
    "A restored database": restored_cinder,
    "A host to be drained": mapping_never_attached,
    "A journal entry to undo": removed_mapping,
}


class Ids:
    """The ids of one side, in the order in which they appear: what is the same on both sides has the same number."""

    def __init__(self) -> None:
        self.known: list[str] = []

    def number(self, ident: str) -> int:
        for number, known in enumerate(self.known):
            if ident.startswith(known) or known.startswith(ident):
                self.known[number] = max(ident, known, key=len)
                return number
        self.known.append(ident)
        return len(self.known) - 1

    def normal(self, text: str) -> str:
        for pattern, word in _CHANGING.items():
            text = re.sub(pattern, word, text)
        # Where a line ends depends on numbers such as that of a row.
        return " ".join(_ID.sub(lambda found: f"#{self.number(found[0])}", text).split())


def steps(shown: str) -> Iterator[tuple[str, str]]:
    """Yield each command with what is shown below it."""
    for step in re.split(r"^\$ ", shown, flags=re.M)[1:]:
        command, _, output = step.partition("\n")
        yield command, output.rstrip("\n")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    # The page has audits of a whole cloud, which lists what other tests break.
    with Cloud(tmp_path_factory.mktemp("transcripts")) as cloud:
        Stage(cloud, "p2").server(0)
        yield cloud


@pytest.fixture
def typed(lab: Cloud, tmp_path: Path) -> Callable[[str], str]:
    """Type a command on a terminal, and return what stands there at the end."""
    use = write_use(lab)

    def run(command: str) -> str:
        master, terminal = os.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
        with subprocess.Popen(
            ["bash", "-c", f". {use}; {command}"],
            stdin=subprocess.DEVNULL,
            stdout=terminal,
            stderr=terminal,
            cwd=tmp_path,
        ):
            os.close(terminal)
            shown = b"".join(pieces(master))
        os.close(master)
        return "\n".join(map(on_screen, shown.decode().rstrip().split("\n")))

    return run


def pieces(master: int) -> Iterator[bytes]:
    # Linux answers with an error once the last program has closed the terminal.
    with contextlib.suppress(OSError):
        while piece := os.read(master, 1 << 16):
            yield piece


def on_screen(line: str) -> str:
    """Return what a terminal shows of a line: progress is written over itself."""
    return [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", part) for part in line.rstrip("\r").split("\r")][-1].rstrip()


def test_each_transcript_is_there() -> None:
    assert [found["title"] for found in _BLOCK.finditer(PAGE.read_text())] == [*BUILT]


@pytest.mark.parametrize("title", BUILT)
def test_a_terminal_shows_what_the_page_shows(
    title: str, lab: Cloud, typed: Callable[[str], str], tmp_path: Path
) -> None:
    (block,) = [found for found in _BLOCK.finditer(PAGE.read_text()) if found["title"] == title]
    stage, on_page, real = Stage(lab), Ids(), Ids()
    hands = BUILT[title](stage, Dedangle(lab))
    rows.settle(lab.home)
    written = ""
    for command, expected in steps(block["shown"]):
        for ident in _ID.findall(command):
            if on_page.number(ident) == len(real.known):
                real.number(hands.pop(0))
        meant = _ID.sub(lambda found: real.known[on_page.number(found[0])], command)
        if WRITE:
            meant = filled(meant, hands, real)
        shown = typed(meant)
        written += f"$ {meant}\n{shown}\n" if shown else f"$ {meant}\n"
        normal = real.normal(shown)
        if WRITE:
            on_page.normal(expected)
        else:
            assert normal == on_page.normal(expected), shown
    if WRITE:
        text = PAGE.read_text()
        PAGE.write_text(text.replace(block[0], block[0].replace(block["shown"], written)))


def filled(command: str, hands: list[str], real: Ids) -> str:
    """Return the command of a new transcript with ids in place of {1} and {entry}."""
    entries = [ident for ident in real.known if re.fullmatch(r"[0-9a-f]{12}-\d+", ident)]
    return command.replace("{1}", hands[0] if hands else "").replace("{entry}", entries[-1] if entries else "")
