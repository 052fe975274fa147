# SPDX-License-Identifier: Apache-2.0
"""The console script `dedangle`."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import metadata

from cliff.app import App
from cliff.commandmanager import CommandManager

from dedangle.cli import console

_DESCRIPTION = """\
Finds dangling volume attachments between Nova and Cinder, and removes them without unplugging a disk in use.

It changes nothing without --execute. It never takes silence for absence, never touches what is in flight or not
Nova's, never removes a root disk unasked, and writes down what it means to do before it does it.
"""


def _versions() -> str:
    """Our version, that of the Nova beside us, and that of the client which asks Cinder; none of them is imported."""
    try:
        nova = f"Nova {metadata.version('nova')}"
    except metadata.PackageNotFoundError:
        nova = "no Nova beside it"
    client = f"keystoneauth1 {metadata.version('keystoneauth1')} for Cinder"
    return f"{metadata.version('dedangle')} ({nova}, {client})"


class Dedangle(App):
    """cliff's application with Nova's configuration options before or behind the verb."""

    def __init__(self, config_args: Sequence[str] = ()) -> None:
        self.config_args = config_args
        super().__init__(
            description=_DESCRIPTION,
            version=_versions(),
            command_manager=CommandManager("dedangle.cli"),
            deferred_help=True,
        )

    def build_option_parser(self, *args: object, **kwargs: object) -> object:
        parser = console.in_one_line(super().build_option_parser(*args, **kwargs))
        console.add_config_options(parser)
        return parser

    def configure_logging(self) -> None:
        """Leave logging to oslo.log and nova.conf."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    # Nova's libraries warn of their own future on stderr, which is the operator's, unless python -W was asked for it.
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    try:
        config_args, rest = console.take_config_options(sys.argv[1:] if argv is None else argv)
        return int(Dedangle(config_args).run(rest or ["--help"]))
    except KeyboardInterrupt:
        return 130
