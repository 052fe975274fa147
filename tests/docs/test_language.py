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
# Each with what to write in its place.
REPLACED = {
    r"came to nothing": "failed",
    r"(?:is|are) none of (?:ours|its)": "is not ...",
    r"none of ours": "not dedangle's",
    r"span of time": "duration",
    r"host's word": "proof from the host",
    r"on (?:the|its|their|an operator's) word\b": "because ... says so",
    r"mend(?:s|ed|ing)?\b": "fix",
    r"spoilt|spoils?\b|spoiled": "broken",
    r"who(?:so)?ever\b": "everybody who",
    r"what came of\b": "the outcome",
    r"in place of\b": "instead of",
    r"way out of every": "commands that solve",
    r"besides\b": "in addition",
    r"anew, where": "again if",
    r"is to be\b|are to be\b": "must be",
    r"on its way\b|on their way\b": "in progress",
    r"leavings\b": "what is left over",
    r"of our own\b": "of its own",
    r"has no bearing on\b": "does not change",
    r"tells? (?:from|the rest|whether|which)\b": "show",
    r"in (?:\w+ )?fingers\b": "expect",
    r"for ever\b": "permanently",
    r"half-way made\b": "unfinished",
    r"(?:host|cell|database|Nova|Cinder) (?:tells|says its|is told)\b": "reports",
}


def prose(page: str) -> list[str]:
    """Return the paragraphs and items of a page, without code, tables, headings and directives."""
    text = (ROOT / page).read_text()
    text = re.sub(r"^<!--.*?-->$", "", text, flags=re.M | re.S)
    text = re.sub(r"^( *)(`{3,}|:{3,}\{toctree).*?^\1(?:`{3,}|:{3,})$", "", text, flags=re.M | re.S)
    # What begins a block of its own: an item, a definition, a quote, and the line after a table, a heading, a fence.
    text = re.sub(r"^[ \t]*(?:\|.*|#.*|:{3,}.*|:class:.*|!\[.*)$", "", text, flags=re.M)
    text = re.sub(r"^[ \t]*(?:[-*]|\d+\.|:) +", "\n", text, flags=re.M)
    return [" ".join(block.split()) for block in re.split(r"\n\s*\n", text) if block.strip()]


def sentences(block: str) -> list[str]:
    """Split a paragraph; a full stop inside code, a link or an abbreviation ends none."""
    plain = re.sub(r"\]\([^)]*\)", "]", block)
    plain = re.sub(r"`[^`]*`", "CODE", plain)
    return [each for each in re.split(r"(?<=[.!?])[*)\]\"']*\s+", plain) if each]


@pytest.mark.parametrize("page", PAGES)
def test_words_are_those_of_the_guide(page: str) -> None:
    text = "\n".join(prose(page))
    found = {word: instead for word, instead in REPLACED.items() if re.search(rf"\b(?:{word})", text, re.IGNORECASE)}
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
