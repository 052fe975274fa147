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
            """Clean a server of its dangling volume attachments.

            Return codes, those of `dedangle cleanup`:
            * 0: Done, or nothing to do, or the plan was shown.
            * 1: An unexpected error happened.
            * 2: No such server, several of the name, bad arguments or configuration.
            * 5: Incomplete: a cell or service did not answer, or a removal was refused or failed.
            * 6: Refused by the fuse: more removals than max_removals.
            * 130, 143: Stopped by a signal at a safe boundary.
            """
            given = [part for name, value in options.items() for part in _argument(name, value)]
            config_args, _ = console.take_config_options(sys.argv[1:])
            # A process of its own, in the place of this one: nova-manage may run on eventlet, and has its own idea of
            # the command line.
            sys.stdout.flush()
            command = [sys.executable, "-m", "dedangle", *config_args, "cleanup", *given, "--", str(server_id)]
            os.execv(command[0], command)

    # Nova's decorators only note on the function what the parser shall offer; what is noted last stands first.
    for name, settings in reversed(OPTIONS.items()):
        manage.args(name, **settings)(VolumeAttachmentCommands.cleanup)
    manage.args("server_id", metavar="<server-id>", help="id, short id or name of the server; a deleted one by id")(
        VolumeAttachmentCommands.cleanup
    )
    manage.action_description(
        "Clean a server of its dangling volume attachments, as `dedangle cleanup` does: without --execute it says what "
        "it would do, and changes nothing."
    )(VolumeAttachmentCommands.cleanup)
    return VolumeAttachmentCommands


def _argument(name: str, value: Any) -> list[str]:
    """One option with its value; what was not given, or is a switch left off, is nothing."""
    if value is None or value is False:
        return []
    return [f"--{name}"] if value is True else [f"--{name}", str(value)]
