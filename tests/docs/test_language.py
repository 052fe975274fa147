# SPDX-License-Identifier: Apache-2.0
"""The language of README and manual: words that a reader stumbles over do not appear, and sentences are short."""

import re
from pathlib import Path

import pytest
from vocabulary import sentences, stumbling

ROOT = Path(__file__).parents[2]
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")))
# Their sentences come from docstrings and from the messages of dedangle.
GENERATED = ("docs/findings.md", "docs/rules.md", "docs/states.md", "docs/ways-out.md")
WRITTEN = [page for page in PAGES if page not in GENERATED]
LONGEST = 35


def without_code(page: str) -> str:
    text = (ROOT / page).read_text()
    return re.sub(r"^( *)(`{3,}).*?^\1`{3,}$", "", text, flags=re.M | re.S)


def prose(page: str) -> list[str]:
    """Return the paragraphs and items of a page, without tables, headings and pictures."""
    text = re.sub(r"^[ \t]*(?:\|.*|#.*|!\[.*|<!--.*)$", "", without_code(page), flags=re.M)
    # An item of a list and a definition are blocks of their own.
    text = re.sub(r"^[ \t]*(?:[-*]|\d+\.|:) +", "\n", text, flags=re.M)
    return [" ".join(block.split()) for block in re.split(r"\n\s*\n", text) if block.strip()]


@pytest.mark.parametrize("page", PAGES)
def test_words_are_those_of_the_guide(page: str) -> None:
    assert stumbling(" ".join(re.sub(r"`[^`]*`", "", without_code(page)).split())) == {}


@pytest.mark.parametrize("page", WRITTEN)
def test_sentences_are_short(page: str) -> None:
    assert [each for block in prose(page) for each in sentences(block) if len(each.split()) > LONGEST] == []


def test_a_long_sentence_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    item = " ".join(["word"] * 20)
    long = " ".join(["word"] * 36)
    (tmp_path / "page.md").write_text(
        f"# {long}\n\n```\n{long}\n```\n\n| {long} |\n\n- {item}\n- {item}\n\n{item}. {item}\n{long}.\n"
    )
    assert max(len(each.split()) for block in prose("page.md") for each in sentences(block)) == 56
