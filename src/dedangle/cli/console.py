# SPDX-License-Identifier: Apache-2.0
"""The operator's terminal: messages, progress and questions on stderr, and the options of every verb."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import NoReturn, TextIO

from dedangle.core.text import harmless_lines, shortened

_with_time = False


def date_messages(wanted: bool) -> None:
    """Begin each message with its time if stderr is a log: no terminal, and not the journal of systemd."""
    global _with_time  # as there is one stderr, so there is one answer
    _with_time = wanted and not is_terminal() and not _is_systemds()


def complain(line: str) -> None:
    """Print one message on stderr, over a progress line if there is one."""
    moment = f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ} " if _with_time else ""
    _write(f"{_erase()}{moment}{harmless_lines(line)}\n")


def _is_systemds() -> bool:
    """Whether stderr goes to systemd's journal, which has a time for each line (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def is_terminal() -> bool:
    return sys.stderr.isatty()


def columns() -> int | None:
    """Return the width of the terminal of stdout in columns; None if stdout is a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def show(line: str) -> None:
    """Show a progress line, cut to the width of the terminal, until the next line replaces it."""
    _write(f"{_erase()}{shortened(line, shutil.get_terminal_size().columns - 1)}")


@contextlib.contextmanager
def result() -> Iterator[None]:
    """Print the result on stdout in the block, over a progress line if there is one.

    If its reader closes the pipe early, as head does, the rest is discarded and the run ends with its exit code.
    """
    _write(_erase())
    with _reader_may_leave(sys.stdout):
        yield


@contextlib.contextmanager
def _reader_may_leave(stream: TextIO) -> Iterator[None]:
    try:
        yield
        stream.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _write(text: str) -> None:
    with _reader_may_leave(sys.stderr):
        sys.stderr.write(text)


def can_ask() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm(question: str) -> bool:
    """Ask on the terminal and return whether the answer is yes."""
    _write(f"{_erase()}{harmless_lines(question)} [y/N] ")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add to --help the options that take_config_options has already removed from the command line."""
    parser.add_argument("--config-file", metavar="PATH", help="configuration file of Nova; repeatable")
    parser.add_argument("--config-dir", metavar="DIR", help="directory of Nova's .conf files; repeatable")


def in_one_line(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Make the parser report an error in one line; argparse would print the whole usage before it."""

    def refuse(message: str) -> NoReturn:
        complain(f"{parser.prog}: {message.rstrip('.')}. See: {parser.prog} --help")
        sys.exit(2)

    parser.error = refuse  # type: ignore[method-assign]
    return parser


def take_config_options(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return (configuration options, other arguments); the options may be anywhere on the command line."""
    parser = in_one_line(argparse.ArgumentParser("dedangle", add_help=False, allow_abbrev=False))
    parser.add_argument("--config-file", action="append", default=[])
    parser.add_argument("--config-dir", action="append", default=[])
    taken, rest = parser.parse_known_args(argv)
    files = [part for each in taken.config_file for part in ("--config-file", each)]
    return [*files, *(part for each in taken.config_dir for part in ("--config-dir", each))], rest


def _erase() -> str:
    return "\r\x1b[K" if is_terminal() else ""
