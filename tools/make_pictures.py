# SPDX-License-Identifier: Apache-2.0
"""Takes the pictures and transcripts of README and manual in the lab; run by hand: make pictures.

A transcript goes below its comment `<!-- transcript: NAME -->` in README or manual. The page's picture needs Chromium.
"""

from __future__ import annotations

import io
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from dedangle.lab.__main__ import write_use
from dedangle.lab.breakers import Breaker
from dedangle.lab.builders import Builder
from dedangle.lab.cloud import Cloud
from dedangle.lab.demo import Demo

ROOT = Path(__file__).parent.parent
HOME = ROOT / ".lab" / "pictures"
PICTURES = ROOT / "docs" / "pictures"
COLUMNS = 100
_BLOCK = re.compile(r"(<!-- transcript: ([\w-]+) -->\n)(?:\n```console\n.*?\n```\n)?", re.DOTALL)
_STUCK = "pvc-0c6a5a0e"


class Shell:
    """Types commands as a reader of the manual does, and keeps what the terminal shows, by name."""

    def __init__(self, cloud: Cloud) -> None:
        self._use = write_use(cloud)
        self.shown: dict[str, str] = {}

    def type(self, name: str, *commands: str) -> str:
        lines: list[str] = []
        for command in commands:
            lines.append(f"$ {command}")
            # A terminal shows stdout and stderr in the order in which they are written.
            typed = f"stty columns {COLUMNS}; . {self._use}; {command}"
            done = subprocess.run(
                ["script", "--quiet", "--return", "--command", f"bash -c {shlex.quote(typed)}", "/dev/null"],
                stdout=subprocess.PIPE,
                check=False,
                cwd=HOME,
            )
            shown = done.stdout.decode().replace("\r\n", "\n").replace(f"{HOME}/", "").replace(f"{ROOT}/", "").rstrip()
            lines += [part for line in shown.split("\n") for part in _wrap(_on_screen(line))]
        self.shown[name] = "\n".join(lines)
        print(f"== {name}\n{self.shown[name]}", flush=True)
        return self.shown[name]


def _on_screen(line: str) -> str:
    """Return what a terminal shows of a line in the end; progress is written over itself."""
    parts = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", part) for part in line.split("\r")]
    return [part for part in parts if part][-1] if any(parts) else ""


def _wrap(line: str) -> list[str]:
    """Break a line that is wider than the page, below the text that it continues."""
    if re.match("  (Run|then): ", line):
        # A command can be copied from the page.
        return [line]
    label = re.match(r"   [A-Z][a-z ]+: +|               |  ", line)
    indent = " " * (len(label[0]) if label else 0)
    return textwrap.wrap(line, COLUMNS, subsequent_indent=indent, drop_whitespace=True, break_on_hyphens=False) or [""]


def take(cloud: Cloud) -> dict[str, str]:
    """Return what the terminal shows, by the name of the transcript."""
    demo = Demo(cloud)
    demo.make_healthy()
    demo.break_cloud()
    shell = Shell(cloud)
    (HOME / "page").mkdir(exist_ok=True)

    # The tutorial shows what make lab-break plants, and nothing else.
    shell.type("version", "dedangle --version")
    shell.type("doctor", "dedangle doctor")
    shell.type("audit", "dedangle audit")
    shell.type("report", "dedangle audit --report page/audit.html >/dev/null")
    shell.type("first-plan", "dedangle cleanup reserved")
    shell.type("first-execute", "dedangle cleanup reserved --execute --yes")
    shell.type("sweep", "dedangle sweep --execute --yes --textfile dedangle.prom", "grep -c ^dedangle dedangle.prom")

    one = Builder(cloud, "p1")
    node = one.server("node-7", 1)
    stuck = one.volume(name=_STUCK)
    Breaker(one).reserve_attachment(node.id, stuck)
    show = f"openstack volume list --all-projects --name {_STUCK} -f value -c Name -c Status"
    lost = demo_server(cloud, "lost")
    shell.type("volume", show, f"dedangle audit --volume {_STUCK}")
    shell.type("volume-cleanup", f"dedangle cleanup --volume {_STUCK} --execute --yes", show)
    shell.type("cleanup-plan", "dedangle cleanup orphaned --no-host")
    shell.type("cleanup-execute", "dedangle cleanup orphaned --no-host --execute --yes")
    shell.type("reattach-plan", "dedangle cleanup lost --volume lost-1 --reattach")
    shell.type(
        "reattach-execute",
        "ssh lab-compute-1 nova-manage volume_attachment get_connector --json > connector.json",
        "dedangle cleanup lost --volume lost-1 --reattach --restart --connector connector.json --execute --yes",
    )
    one.stop(lost)
    shell.type("undo-remove", "dedangle cleanup lost --volume lost-2 --no-host --execute --yes")
    shell.type("undo-list", f"dedangle journal list --server {lost[:8]}")
    entry = shell.type("entry", f"dedangle journal list --server {lost[:8]} -f value -c entry | tail -n 1").split()[-1]
    shell.type("undo-plan", f"dedangle undo {entry} --connector connector.json")
    shell.type("undo-execute", f"dedangle undo {entry} --connector connector.json --execute --yes")
    return shell.shown


def demo_server(cloud: Cloud, name: str) -> str:
    """Return the id of a server of the first project by its name."""
    servers = cloud.user("p1").nova("GET", f"/servers?name=^{name}$", expect=200).body["servers"]
    return str(servers[0]["id"])


def page(report: Path) -> None:
    """Take the picture of the HTML page."""
    # What was typed names the lab's configuration.
    report.write_text(report.read_text().replace(f"{HOME}/", "/"))
    subprocess.run(
        [
            "chromium", "--headless", "--no-sandbox", "--hide-scrollbars", "--force-device-scale-factor=1.25",
            "--window-size=1100,760", f"--screenshot={PICTURES / 'page.png'}", report.as_uri(),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip


def terminal(shown: str) -> str:
    """Draw a terminal that shows a transcript."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    for line in shown.split("\n"):
        console.print(Text(line, style="bold" if line.startswith("$ ") else ""))
    drawn = console.export_svg(title="dedangle", theme=MONOKAI, unique_id="terminal")
    # Neither a page nor a forge fetches a font for a picture.
    return re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL).replace("Fira Code, monospace", "monospace")


def write(shown: dict[str, str]) -> None:
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        before = path.read_text()
        after = _BLOCK.sub(
            lambda found: f"{found[1]}\n```console\n{shown[found[2]]}\n```\n" if found[2] in shown else found[0], before
        )
        if after != before:
            path.write_text(after)


def main() -> int:
    shutil.rmtree(HOME, ignore_errors=True)
    PICTURES.mkdir(exist_ok=True)
    with Cloud(HOME, progress=print) as cloud:
        shown = take(cloud)
    page(HOME / "page" / "audit.html")
    (PICTURES / "terminal.svg").write_text(terminal(shown["volume"]))
    write(shown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
