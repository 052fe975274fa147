# SPDX-License-Identifier: Apache-2.0
"""The language of the source and of --help: words that readers stumble over do not appear, sentences are short."""

import ast
import io
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from vocabulary import REPLACED_IN_SOURCE, sentences, stumbling

ROOT = Path(__file__).parents[2]
LONGEST = 35
VERBS = ("", "audit", "cleanup", "sweep", "journal list", "journal show", "undo", "doctor")


def read_by_people(source: str) -> Iterator[tuple[int, str]]:
    """Yield each comment, docstring and string of a Python source, with its line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
    comments = [
        each for each in tokenize.generate_tokens(io.StringIO(source).readline) if each.type == tokenize.COMMENT
    ]
    for number, comment in enumerate(comments):
        # A sentence may go on in the comment of the next line.
        following = comments[number + 1] if number + 1 < len(comments) else None
        is_next = following is not None and following.start[0] == comment.start[0] + 1
        yield (
            comment.start[0],
            " ".join([comment.string, following.string.lstrip("# ") if following and is_next else ""]),
        )


@pytest.mark.parametrize(
    "package", sorted(path.name for path in (ROOT / "src/dedangle").iterdir() if path.name != "lab")
)
def test_words_of_the_source_are_those_of_the_guide(package: str) -> None:
    path = ROOT / "src/dedangle" / package
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    found = [
        f"{file.relative_to(ROOT)}:{line}: {stumbles}"
        for file in files
        for line, text in read_by_people(file.read_text())
        for stumbles in [stumbling(" ".join(text.split()), REPLACED_IN_SOURCE)]
        if stumbles
    ]
    assert found == []


@pytest.mark.parametrize("folder", ["deploy", "releasenotes/notes"])
def test_words_of_other_files_are_those_of_the_guide(folder: str) -> None:
    files = [path for path in sorted((ROOT / folder).rglob("*")) if path.is_file()]
    assert files
    found = {path.name: stumbling(" ".join(path.read_text().split())) for path in files}
    assert {name: stumbles for name, stumbles in found.items() if stumbles} == {}


def test_a_word_is_found_in_string_docstring_and_comment() -> None:
    source = '"""Ask anew."""\n# For ever\n# on its\n# way.\nx = f"none of ours: {1}"\n'
    found = [word for _, text in read_by_people(source) for word in stumbling(text, REPLACED_IN_SOURCE)]
    assert sorted(found) == ["anew", "for ever", "none of ours", "on (?:its|their) way"]


def help_of(verb: str) -> str:
    command = [sys.executable, "-m", "dedangle", *verb.split(), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"COLUMNS": "1000"})
    return done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_sentences_of_help_are_short(verb: str) -> None:
    lines = [line.strip() for line in help_of(verb).splitlines() if not line.startswith("usage:")]
    long = [each for line in lines for each in sentences(line) if len(each.split()) > LONGEST]
    assert long == []
