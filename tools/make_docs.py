# SPDX-License-Identifier: Apache-2.0
"""Writes the generated pages and parts of the manual; --check only compares."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import reference  # noqa: E402

from cases.stage import DOORS, Case, cases  # noqa: E402
from dedangle.core.doors import RULES  # noqa: E402
from dedangle.core.findings import TABLE, Needs  # noqa: E402
from dedangle.core.outside import QUESTIONS  # noqa: E402

_NEEDS = {
    Needs.NEVER: "reports it",
    Needs.NOTHING: "acts",
    Needs.GRACE: "acts after the grace period",
    Needs.STOPPED: "acts if the server is stopped and its host disconnects the volume, or with `--no-host`",
    Needs.NO_GUEST: "acts if the server is stopped or has no host, or if its host proves that the guest does not have "
    "the disk",
    Needs.PROOF: "acts if every host concerned proves that the guest does not have the disk",
    Needs.GUEST_OFF: "powers the guest off, disconnects the volume and acts",
    Needs.IN_USE: "acts with `--relink` or `--reattach`, if the server is stopped or has no host, or if its host "
    "proves that the guest has the disk; `--reattach` acts also if neighbouring attachments are lost too",
    Needs.PRESENCE: "acts if the server's host proves that the guest has the disk",
}
_IDS = {
    "server": "SERVER",
    "volume": "VOLUME",
    "attachment": "ATTACHMENT",
    "other": "OTHER_SERVER",
    "beside": "OTHER_ATTACHMENT",
    "work": "OPEN WORK",
    "statuses": "the volume is STATUS, and attachment ATTACHMENT is STATUS",
    "host": "HOST",
    "source": "DEVICE",
    "expected": "OTHER_DEVICE",
    "connection": "CONNECTION",
}


def findings() -> str:
    """The manual's page of findings."""
    lines = [
        "# Findings",
        "",
        "Generated from `src/dedangle/core/findings.py` by `tools/make_docs.py`.",
        "",
        "Each finding has a code. For each code this page gives the meaning, the remedy, and what the three",
        "[doors](glossary.md#decisions) do. A door acts unless a [rule](rules.md) keeps the row.",
        "[States](states.md) lists the states behind a code, and",
        "[Ways out](ways-out.md) lists the commands that solve them. The ids of states are explained in the",
        "[glossary](glossary.md#state-ids).",
        "",
    ]
    for kind in TABLE:
        lines += [
            f"## {kind.code}",
            "",
            kind.sentence.format(**_IDS),
            "",
            f"- States: {kind.states}",
            f"- Remedy: {kind.remedy}",
            f"- Reboot: {_NEEDS[kind.reboot]}",
            f"- Command: {_NEEDS[kind.command]}",
            f"- Sweep: {_NEEDS[kind.sweep]}"
            + (", after the grace period" if kind.sweep in (Needs.NO_GUEST, Needs.PROOF) else ""),
            *([f"- Advice: {kind.advice.format(**_IDS)}"] if kind.advice else []),
            *([f"- Alternative: {kind.alternative}"] if kind.alternative else []),
            "",
        ]
    return "\n".join(lines)


def rules() -> str:
    """The manual's page of the rules that a door obeys, in their order."""
    lines = [
        "# Rules",
        "",
        "Generated from `RULES` in `src/dedangle/core/doors.py` by `tools/make_docs.py`.",
        "",
        "The first rule that applies decides what a door does about a finding. The order is the same for the reboot,",
        "the command and the sweep. [Findings](findings.md) says what each door needs for each code.",
        "",
    ]
    for number, rule in enumerate(RULES, 1):
        lines += [f"{number}. **{rule.__name__.replace('_', ' ')}**", ""]
        lines += [f"   {line}".rstrip() for line in inspect.cleandoc(str(rule.__doc__)).split("\n")]
        lines.append("")
    return "\n".join(lines)


def states() -> str:
    """Every state that a case builds on the lab, and what each door does about it."""
    lines = [
        "# States",
        "",
        "Generated from `tests/cases` by `tools/make_docs.py`. A test builds each state on a real cloud, and lets each",
        "door act on it twice. It then compares both databases. Rows that are kept have not changed.",
        "",
        "*Audit* is the disposition that `dedangle audit` shows. *Not possible* means that the door cannot act on",
        "such a server. For example, a deleted server cannot be rebooted. The [glossary](glossary.md#state-ids)",
        "explains the ids.",
        "",
        "| id | code | state | audit | sweep | command | reboot |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in cases():
        code = case.name.split("/")[0]
        doors = " | ".join(_fate(case, door) for door in DOORS)
        says = ", ".join(sorted(case.dispositions)) or "nothing"
        lines.append(f"| {case.row} | {code} | {case.title.rstrip('.')} | {says} | {doors} |")
    return "\n".join([*lines, ""])


def ways_out() -> str:
    """The way out of every state: what an operator types, and what is left to decide."""
    lines = [
        "# Ways out",
        "",
        "Generated from `tests/cases` by `tools/make_docs.py`. A test (`tests/exits`) builds each state on a real",
        "cloud whose hosts do not run dedangle. It types these commands with the real clients, and checks that the",
        "audit then lists nothing.",
        "",
        "If the host runs dedangle, its proof often makes a stop unnecessary. The field `next` of a finding has the",
        "commands for that server. A line with `ssh HOST 'virsh ... dominfo SERVER'` goes on only if that",
        "host answers and has no domain of the server. The client `cinder` does not read clouds.yaml: it needs the",
        "`OS_*` variables.",
        "",
        "*SERVER* is the server of the finding. For `volume-in-use-elsewhere` that is the one whose attachment Cinder",
        "has lost: it is stopped and loses its mapping, and the server that Cinder names keeps the volume.",
        "",
        "| code | state | commands | what you must decide |",
        "|---|---|---|---|",
    ]
    walked = set()
    for case in cases():
        if case.dispositions - {"protect"} or case.way_out:
            walked.add(case.name.split("/")[0])
            commands = (each.replace("ssh elsewhere ", "ssh OTHER_HOST ") for each in case.way_out)
            typed = "<br>".join(f"`{each}`" for each in commands) or "none"
            waits = "nothing; it waits until the work has ended" if case.dispositions == {"wait"} else ""
            code, title = case.name.split("/")[0], case.title.rstrip(".")
            lines.append(f"| {code} | {title} | {typed} | {case.outside or waits} |")
    lines += [
        "",
        "## What you must decide",
        "",
        "A finding without commands ends with one of these questions. No other state is without commands: a test",
        "(`tests/core/test_dead_ends.py`) looks at 50,000 combinations of faults.",
        "",
        "| Decide ... | why dedangle does not |",
        "|---|---|",
        *(f"| {each.asks} | {each.because} |" for each in QUESTIONS),
        "",
        "## Other codes",
        "",
        "These codes come from states that only a host or the age of a row shows, so the table does not have them. The",
        "finding names its commands, if there are any.",
        "",
        "| code | state | what to do |",
        "|---|---|---|",
    ]
    for kind in TABLE:
        if kind.code not in walked:
            advice = kind.advice.format(**_IDS) or "the commands that the finding names, after a look at both sides"
            lines.append(f"| {kind.code} | {kind.sentence.format(**_IDS)} | {advice} |")
    return "\n".join([*lines, ""])


def _fate(case: Case, door: str) -> str:
    if door not in case.doors:
        return "not possible"
    return "**removed**" if door in case.removed_by else "kept"


def with_parts(page: Path) -> str:
    """Return a page with its generated parts, each between `<!-- generated: NAME -->` and `<!-- end -->`."""
    made = {"configuration": reference.configuration, "common options": reference.common, "verbs": reference.verbs}
    return re.sub(
        r"(<!-- generated: (.*?) -->\n).*?(<!-- end -->)",
        lambda found: f"{found[1]}\n{made[found[2]]()}\n\n{found[3]}",
        page.read_text(),
        flags=re.DOTALL,
    )


def main() -> int:
    made = {"findings": findings, "rules": rules, "states": states, "ways-out": ways_out}
    pages = {ROOT / "docs" / f"{name}.md": page() for name, page in made.items()}
    pages |= {path: with_parts(path) for path in (ROOT / "docs" / "configuration.md", ROOT / "docs" / "command.md")}
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not what tools/make_docs.py writes; run it.", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.write_text(pages[path])
    return 0


if __name__ == "__main__":
    sys.exit(main())
