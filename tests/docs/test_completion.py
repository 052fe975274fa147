# SPDX-License-Identifier: Apache-2.0
"""What `dedangle complete` prints, tried in bash with bash-completion as an operator's shell uses it."""

import subprocess
import sys
from pathlib import Path

import pytest

from dedangle.lab import packages
from dedangle.lab.errors import LabError

BASH_COMPLETION = Path("/usr/share/bash-completion/bash_completion")
_ASK = f"""
. {BASH_COMPLETION}
eval "$("$1" complete)"
COMP_LINE=$2 COMP_POINT=${{#2}}
read -ra COMP_WORDS <<< "$2"
[[ $2 == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
[[ $(complete -p dedangle) == "complete -F _dedangle dedangle" ]] && _dedangle
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module", autouse=True)
def _bash() -> None:
    try:
        packages.ensure_installed(packages.Packages(("bash-completion",), ("bash",), (BASH_COMPLETION,)))
    except LabError as missing:
        pytest.skip(str(missing))


def offered(line: str) -> list[str]:
    script = str(Path(sys.executable).with_name("dedangle"))
    done = subprocess.run(["bash", "-c", _ASK, "bash", script, line], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return sorted(set(done.stdout.split()))


@pytest.mark.parametrize(
    ("line", "offers"),
    [
        ("dedangle ", ["audit", "cleanup", "complete", "doctor", "help", "journal", "sweep", "undo"]),
        ("dedangle sw", ["sweep"]),
        ("dedangle journal ", ["list", "show"]),
        ("dedangle journal list --se", ["--server"]),
        ("dedangle cleanup --re", ["--reattach", "--relink", "--report", "--restart"]),
        ("dedangle sweep --time", ["--time-budget"]),
        (f"dedangle audit --report {BASH_COMPLETION.parent}/bash_c", [str(BASH_COMPLETION)]),
    ],
)
def test_verbs_options_and_files_are_completed(line: str, offers: list[str]) -> None:
    assert offered(line) == offers
