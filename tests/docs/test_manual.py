# SPDX-License-Identifier: Apache-2.0
"""What the manual says of the source, and nothing else checks; `make docs` checks its own links and references."""

import re
from pathlib import Path

import pytest
from oslo_config import cfg

from dedangle import config
from dedangle.report import exit_codes

ROOT = Path(__file__).parents[2]
AT_THE_TOP = ("README.md", "CONTRIBUTING.md", "SECURITY.md")
PAGES = (*AT_THE_TOP, "docs/architecture.md", "docs/comparison.md", "docs/security.md")


@pytest.mark.parametrize("page", AT_THE_TOP)
def test_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)", (ROOT / page).read_text())
    assert links
    assert [each for each in links if not (ROOT / each).is_file()] == []


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_are_there(page: str) -> None:
    named = re.findall(r"`((?:src|tests|tools|benchmarks|docs|deploy)/[\w./-]+)`", (ROOT / page).read_text())
    assert [each for each in named if "CODE" not in each and not (ROOT / each).exists()] == []


def test_every_import_contract_is_explained() -> None:
    contracts = re.findall(
        r'^\[\[tool.importlinter.contracts\]\]\nname = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.M
    )
    page = (ROOT / "docs" / "architecture.md").read_text()
    assert contracts
    assert [each for each in contracts if f"**{each}**" not in page] == []


def test_the_configuration_reference_has_every_option() -> None:
    conf = cfg.ConfigOpts()
    config.register(conf)
    conf([], default_config_files=[])
    ((group, options),) = config.list_options()
    assert group == config.GROUP
    assert set(conf[config.GROUP]) <= {each.dest for each in options}


def test_every_exit_code_is_told() -> None:
    page = (ROOT / "docs" / "command.md").read_text()
    codes = [value for name, value in vars(exit_codes).items() if name.isupper()]
    assert codes
    assert [each for each in codes if f"\n| {each} |" not in page] == []


def test_no_page_is_empty_where_sphinx_does_not_make_it() -> None:
    pages = (ROOT / "docs").glob("*.md")
    directives = [each.name for each in pages if re.search(r"^```\{(?!image|toctree)", each.read_text(), re.M)]
    # The release notes are files of their own in the source.
    assert directives == ["release-notes.md"]
    assert all(f"### dedangle {verb}\n" in (ROOT / "docs" / "command.md").read_text() for verb in ("audit", "undo"))
