# SPDX-License-Identifier: Apache-2.0
"""The operator's terminal: complaints, progress and questions on stderr, and the options that every verb takes."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from typing import NoReturn

from dedangle.core.text import harmless_lines, shortened


def complain(line: str) -> None:
    """Say one line on stderr, in place of a progress line that may stand there."""
    sys.stderr.write(f"{_erase()}{harmless_lines(line)}\n")
    sys.stderr.flush()


def is_terminal() -> bool:
    return sys.stderr.isatty()


def columns() -> int | None:
    """Return how many columns the terminal has that stdout is; None if it is a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def show(line: str) -> None:
    """Let the line, cut to the width of the terminal, stand there until the next one takes its place."""
    sys.stderr.write(f"{_erase()}{shortened(line, shutil.get_terminal_size().columns - 1)}")
    sys.stderr.flush()


def clear() -> None:
    """Take a progress line away, so that the result on stdout begins a line of its own."""
    sys.stderr.write(_erase())
    sys.stderr.flush()


def confirm(question: str) -> bool:
    """Ask on a terminal; a script, which cannot answer, has answered with --execute."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    sys.stderr.write(f"{_erase()}{harmless_lines(question)} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Show in --help the options that take_config_options has taken out of the command line before."""
    parser.add_argument("--config-file", metavar="PATH", help="Nova's configuration; may be given several times")
    parser.add_argument("--config-dir", metavar="DIR", help="directory of .conf files; may be given several times")


def in_one_line(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Let the parser say in one line what it does not take; argparse would put its whole usage before it."""

    def refuse(message: str) -> NoReturn:
        complain(f"{parser.prog}: {message.rstrip('.')}. See: {parser.prog} --help")
        sys.exit(2)

    parser.error = refuse  # type: ignore[method-assign]
    return parser


def take_config_options(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split --config-file and --config-dir off, wherever they stand; returns (theirs, the rest)."""
    parser = in_one_line(argparse.ArgumentParser("dedangle", add_help=False, allow_abbrev=False))
    parser.add_argument("--config-file", action="append", default=[])
    parser.add_argument("--config-dir", action="append", default=[])
    taken, rest = parser.parse_known_args(argv)
    files = [part for each in taken.config_file for part in ("--config-file", each)]
    return [*files, *(part for each in taken.config_dir for part in ("--config-dir", each))], rest


def _erase() -> str:
    return "\r\x1b[K" if is_terminal() else ""
