# SPDX-License-Identifier: Apache-2.0
"""What tenants may write acts neither in a page nor on a terminal nor in a spreadsheet."""

import csv
import io
from pathlib import Path

import pytest
import sqlalchemy as sa
from chromium import Page
from runs import HOSTILE, finding, run_of

from dedangle.cli import console
from dedangle.core.text import defused, harmless
from dedangle.lab.breakers import Breaker
from dedangle.lab.builders import Builder
from dedangle.lab.cloud import Cloud
from dedangle.report import cells, plan
from shell import Dedangle

NAMES = (
    "<img src=x onerror=pwned=1>",
    '=HYPERLINK("http://127.0.0.1:9/","web-1")',
    "\x1b[2Jgone",
    "safe\u202egnp.exe",
)


@pytest.mark.parametrize("text", HOSTILE, ids=harmless)
def test_a_cell_is_text(text: str) -> None:
    for formatter in ("csv", "table", "value"):
        assert cells.text(text, formatter).isprintable()
    assert cells.text(text, "csv")[0] not in "=+-@\t\r\n"
    assert cells.text([text, "two"], "value") == f"{harmless(text)}; two"
    # json and yaml are for programs, and escape by themselves.
    assert cells.text(text, "json") == cells.text(text, "yaml") == text


@pytest.mark.parametrize("text", HOSTILE, ids=harmless)
def test_a_complaint_is_text(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    console.complain(f"Not checked: {text}")
    assert all(line.isprintable() for line in capsys.readouterr().err.split("\n"))


@pytest.mark.parametrize("text", HOSTILE, ids=harmless)
def test_a_name_adds_no_line_to_a_plan(text: str) -> None:
    named, plain = (finding("link-mismatch", server_name=each, volume_name=each) for each in (text, "plain"))
    shown = plan.plan(run_of(named), [named])
    assert len(shown.split("\n")) == len(plan.plan(run_of(plain), [plain]).split("\n"))
    assert all(line.isprintable() for line in shown.split("\n"))
    assert f"   Server:     {harmless(text)}, active, on host compute-0\n" in shown
    assert f"   Volume:     {harmless(text)}, 1 GiB\n" in shown


def test_servers_with_hostile_names(cloud: Cloud, dedangle: Dedangle, tmp_path: Path, tab: Page) -> None:
    builder = Builder(cloud)
    Builder(cloud, "p2").server("control", 1)
    servers = []
    for number, name in enumerate(NAMES):
        server = builder.server(f"hostile-{number}", 1)
        # Past Nova's API, which keeps what is not printable out of names.
        with cloud.home.connect("nova_cell1") as nova:
            renamed = sa.text("UPDATE instances SET display_name = :name WHERE uuid = :id")
            nova.execute(renamed, {"name": name, "id": server.id})
        with cloud.home.connect("cinder") as cinder:
            renamed = sa.text("UPDATE volumes SET display_name = :name WHERE id = :id")
            cinder.execute(renamed, {"name": name, "id": server.volumes[1]})
        Breaker(builder).lose_attachment(server.id, server.volumes[1])
        servers.append(server.id)
    only = [part for each in servers for part in ("--server", each)]
    report = tmp_path / "report.html"

    done = dedangle("audit", *only, "-f", "csv", "--report", str(report))
    assert done.code == 0, done.err
    listed = list(csv.reader(io.StringIO(done.out), escapechar="\\"))
    assert {row[3] for row in listed[1:]} == set(servers)
    for column in ("server_name", "volume_name"):
        place = listed[0].index(column)
        assert {row[place] for row in listed[1:]} == {defused(harmless(each)) for each in NAMES}
    assert not [value for row in listed for value in row if value.startswith(("=", "+", "-", "@"))]
    for output in (
        done,
        dedangle("audit", *only),
        dedangle("cleanup", NAMES[3]),
        dedangle("audit", "--server", "\x1b[2J"),
    ):
        assert all(line.isprintable() for line in (output.out + output.err).split("\n"))
    tab.open(report)
    assert tab.run("document.querySelectorAll('details').length") == len(NAMES)
    assert tab.run("typeof pwned") == "undefined"
    assert "\u202e" not in report.read_text(encoding="utf-8")
