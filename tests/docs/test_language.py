# SPDX-License-Identifier: Apache-2.0
"""The language of README and manual: words that a reader stumbles over do not appear, and sentences are short."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")))
# Their sentences come from docstrings and from the messages of dedangle.
GENERATED = ("docs/findings.md", "docs/rules.md", "docs/states.md", "docs/ways-out.md")
WRITTEN = [page for page in PAGES if page not in GENERATED]
LONGEST = 35
# Words that readers stumble over, each with what to write instead.
REPLACED = {
    r"came to nothing": "failed",
    r"none of ours": "not dedangle's",
    r"span of time": "duration",
    r"(?:host|cell|service)'s word": "proof from the host",
    r"on (?:the|its|their|an operator's) word": "because ... says so",
    r"mend(?:s|ed|ing)?": "fix",
    r"spoil(?:s|t|ed)?": "break",
    r"who(?:so)?ever": "everybody who",
    r"what came of": "the outcome of",
    r"in place of": "instead of",
    r"besides": "in addition",
    r"(?:is|are) to be": "must be",
    r"on (?:its|their) way": "in progress",
    r"leavings": "what is left over",
    r"of our own": "of its own",
    r"has no bearing on": "does not change",
    r"in (?:\w+ )?fingers": "expect",
    r"for ever": "permanently",
    r"(?:host|cell|database|Nova|Cinder) (?:tells|says its|is told)": "reports",
    r"what is doomed": "what will be removed",
    r"for want of": "because ... is missing",
    r"thereby|thereof|therein|whereby": "so",
}


def without_code(page: str) -> str:
    text = (ROOT / page).read_text()
    return re.sub(r"^( *)(`{3,}).*?^\1`{3,}$", "", text, flags=re.M | re.S)


def prose(page: str) -> list[str]:
    """Return the paragraphs and items of a page, without tables, headings and pictures."""
    text = re.sub(r"^[ \t]*(?:\|.*|#.*|!\[.*|<!--.*)$", "", without_code(page), flags=re.M)
    # An item of a list and a definition are blocks of their own.
    text = re.sub(r"^[ \t]*(?:[-*]|\d+\.|:) +", "\n", text, flags=re.M)
    return [" ".join(block.split()) for block in re.split(r"\n\s*\n", text) if block.strip()]


def sentences(block: str) -> list[str]:
    """Split a paragraph; a full stop inside code or an address ends no sentence."""
    plain = re.sub(r"\]\([^)]*\)", "]", block)
    plain = re.sub(r"`[^`]*`", "CODE", plain)
    return [each for each in re.split(r"(?<=[.!?])[*)\]\"']*\s+", plain) if each]


@pytest.mark.parametrize("page", PAGES)
def test_words_are_those_of_the_guide(page: str) -> None:
    text = " ".join(re.sub(r"`[^`]*`", "", without_code(page)).split())
    found = {word: instead for word, instead in REPLACED.items() if re.search(rf"\b(?:{word})\b", text, re.IGNORECASE)}
    assert found == {}


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
