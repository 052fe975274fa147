# SPDX-License-Identifier: Apache-2.0
"""The command line as one application of cliff."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Sequence
from importlib import metadata

from cliff.app import App
from cliff.commandmanager import CommandManager

from dedangle.cli import console

_DESCRIPTION = """\
Find dangling volume attachments between Nova and Cinder, and remove them without unplugging a disk in use.

dedangle changes nothing without --execute. If a service does not answer, dedangle does not assume that a row is gone.
It never touches operations in progress or rows of other services. It never removes a root disk unless you ask for it.
It writes every change to its journal before it makes it.
"""


def _versions() -> str:
    """Return the versions of dedangle, of the installed Nova, and of the library for requests to Cinder."""
    try:
        nova = f"Nova {metadata.version('nova')}"
    except metadata.PackageNotFoundError:
        nova = "Nova is not installed"
    client = f"keystoneauth1 {metadata.version('keystoneauth1')} for Cinder"
    return f"{metadata.version('dedangle')} ({nova}, {client})"


class Dedangle(App):
    """cliff's application, with Nova's configuration options before or after the verb."""

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


def run(argv: Sequence[str]) -> int:
    """Run a verb and return its exit code."""
    # Nova's libraries print deprecation warnings on stderr. Operators cannot act on them; python -W still shows them.
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show a name shows its codes.
        sys.stdout.reconfigure(errors="backslashreplace")
    config_args, rest = console.take_config_options(argv)
    return int(Dedangle(config_args).run(rest or ["--help"]))
