# SPDX-License-Identifier: Apache-2.0
"""Error handling of all verbs: every failure ends with one message and a documented exit code."""

from __future__ import annotations

import argparse
from typing import ClassVar

from cliff.command import Command

from dedangle.cli import console
from dedangle.cli.errors import UnreachableError, UsageError
from dedangle.cli.signals import Signals, StoppedError
from dedangle.report import exit_codes
from dedangle.state.lock import AnotherRunError


class Guarded(Command):
    """A verb that never shows a traceback. It must come before cliff's own classes in the list of bases."""

    is_unattended: ClassVar[bool] = False
    """Whether the verb is made for cron: in a log each of its messages begins with the time."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        return console.in_one_line(super().get_parser(prog_name))

    def guarded_run(self, args: argparse.Namespace, signals: Signals) -> int:
        """Do the work of the verb and return its exit code."""
        raise NotImplementedError

    def show(self, args: argparse.Namespace) -> None:
        """Print the result of take_action in the requested format."""
        with console.result():
            super().run(args)

    def run(self, args: argparse.Namespace) -> int:
        """Run the verb and return its exit code. No traceback is shown without --debug."""
        console.date_messages(self.is_unattended)
        signals = Signals()
        try:
            with signals.installed():
                return self.guarded_run(args, signals)
        except StoppedError as stopped:
            console.complain("Stopped by a signal; no change was interrupted. Run again to continue.")
            return stopped.exit_code
        except UsageError as error:
            return _end(error, exit_codes.USAGE)
        except AnotherRunError as error:
            return _end(error, exit_codes.LOCKED)
        except UnreachableError as error:
            return _end(error, exit_codes.INCOMPLETE)
        except Exception as error:
            if self.app.options.debug:
                raise
            console.complain(
                f"Unexpected {type(error).__name__}: {' '.join(str(error).split())}. The changes made before it are in "
                "the journal: dedangle journal list. For the traceback, run again with --debug."
            )
            return exit_codes.UNEXPECTED


def _end(error: Exception, code: int) -> int:
    console.complain(str(error))
    return code
