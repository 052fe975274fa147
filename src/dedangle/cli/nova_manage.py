# SPDX-License-Identifier: Apache-2.0
"""The console script `dedangle-nova-manage`: Nova's own nova-manage with `volume_attachment cleanup`."""

from __future__ import annotations

import os
import sys
from pathlib import PurePath
from typing import Any

from dedangle.cli import console
from dedangle.cli.cleanup import OPTIONS


def main() -> Any:
    """Run nova-manage and return what it returns."""
    from nova.cmd import manage

    # oslo.config and oslo.log look for files by the program's name.
    sys.argv[0] = str(PurePath(sys.argv[0]).with_name("nova-manage"))
    manage.CATEGORIES["volume_attachment"] = _with_cleanup(manage)
    return manage.main()


def _with_cleanup(manage: Any) -> type:
    class VolumeAttachmentCommands(manage.VolumeAttachmentCommands):
        def cleanup(self, server_id: str | None = None, **options: Any) -> None:
            """Remove the dangling volume attachments of a server.

            Return codes, the same as those of `dedangle cleanup`:
            * 0: Done, or nothing to do, or the plan was shown.
            * 1: An unexpected error happened.
            * 2: No such server, several servers of this name, or invalid arguments or configuration.
            * 5: Incomplete: a cell or service did not answer, or a removal was refused or failed.
            * 6: Nothing was removed: the plan exceeds the removal limit.
            * 130, 143: Stopped by a signal; no change was interrupted.
            """
            given = [part for name, value in options.items() for part in _argument(name, value)]
            config_args, _ = console.take_config_options(sys.argv[1:])
            # dedangle replaces this process, because nova-manage may run on eventlet and parses the command line
            # differently.
            sys.stdout.flush()
            command = [sys.executable, "-m", "dedangle", *config_args, "cleanup", *given, "--", str(server_id)]
            os.execv(command[0], command)

    # Nova's decorators only record the options on the function; the parser lists the last one first.
    for name, settings in reversed(OPTIONS.items()):
        manage.args(name, **settings)(VolumeAttachmentCommands.cleanup)
    manage.args("server_id", metavar="<server-id>", help="id, short id or name of the server; a deleted one by id")(
        VolumeAttachmentCommands.cleanup
    )
    manage.action_description(
        "Remove the dangling volume attachments of a server, as `dedangle cleanup` does. Without --execute, only show "
        "the plan."
    )(VolumeAttachmentCommands.cleanup)
    return VolumeAttachmentCommands


def _argument(name: str, value: Any) -> list[str]:
    """Return an option with its value as arguments; none if the option was not given."""
    if value is None or value is False:
        return []
    return [f"--{name}"] if value is True else [f"--{name}", str(value)]
