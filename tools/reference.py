# SPDX-License-Identifier: Apache-2.0
"""The parts of the manual that list options, made from the option parsers and from oslo.config."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from oslo_config import cfg

from dedangle import config
from dedangle.cli.app import Dedangle

# Those that the page describes once for all verbs.
_OF_ALL = {
    "--format", "--column", "--sort-column", "--sort-ascending", "--sort-descending", "--quote", "--noindent",
    "--max-width", "--fit-width", "--print-empty", "--variable", "--prefix", "--config-file", "--config-dir", "--help",
}  # fmt: skip


def common() -> str:
    """Return the table of the options that may come before the verb."""
    parser: Any = Dedangle().parser
    return "\n".join(_options(parser, parser._actions))


def verbs() -> str:
    """Return one section for each verb, with its arguments and options."""
    return "\n".join(line for entry in _entries() for line in _verb(entry)).rstrip()


def configuration() -> str:
    """Return the table of the options of [dedangle]."""
    ((_, options),) = config.list_options()
    lines = ["| option | default | meaning |", "|---|---|---|"]
    return "\n".join([*lines, *map(_option_of_dedangle, options)])


def _entries() -> list[metadata.EntryPoint]:
    return sorted(metadata.entry_points(group="dedangle.cli"), key=lambda entry: entry.name)


def _verb(entry: metadata.EntryPoint) -> Iterator[str]:
    made, name = entry.load(), entry.name.replace("_", " ")
    parser = made(Dedangle(), None, cmd_name=name).get_parser(f"dedangle {name}")
    actions = [each for each in parser._actions if not _OF_ALL & set(each.option_strings)]
    operands = "".join(f" {_operand(each)}" for each in actions if not each.option_strings)
    yield from (f"### dedangle {name}", "", "```", f"dedangle {name} [OPTION]...{operands}", "```", "")
    yield from (inspect.getdoc(made) or "").split("\n")
    if actions:
        yield ""
        yield from _options(parser, actions)
    yield ""


def _operand(action: argparse.Action) -> str:
    metavar = str(action.metavar or action.dest)
    return {"*": f"[{metavar}]...", "+": f"{metavar}...", "?": f"[{metavar}]"}.get(str(action.nargs), metavar)


def _options(parser: argparse.ArgumentParser, actions: list[argparse.Action]) -> Iterator[str]:
    yield from ("| option | meaning |", "|---|---|")
    formatter: Any = parser._get_formatter()
    for action in actions:
        # A deprecated or hidden option has no help.
        if action.help and action.help != argparse.SUPPRESS:
            value = (
                "" if action.nargs == 0 or not action.option_strings else f" {action.metavar or action.dest.upper()}"
            )
            names = ", ".join(f"`{name}{value}`" for name in action.option_strings) or f"`{_operand(action)}`"
            yield f"| {names} | {_cell(formatter._expand_help(action))} |"


def _option_of_dedangle(option: cfg.Opt) -> str:
    default = option.sample_default if option.sample_default is not None else option.default
    shown = f"`{default}`" if default not in (None, "", []) else "none"
    limits = [f"{name} {getattr(option.type, name)}" for name in ("min", "max") if _is_set(option.type, name)]
    choices = [f"`{value}`" for value in getattr(option.type, "choices", None) or ()]
    extra = "; ".join([*limits, *([f"one of {', '.join(choices)}"] if choices else [])])
    return (
        f"| `{option.name.replace('-', '_')}` | {shown} | {_cell(option.help or '')}{f' ({extra})' if extra else ''} |"
    )


def _is_set(kind: object, name: str) -> bool:
    return getattr(kind, name, None) is not None


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
