# SPDX-License-Identifier: Apache-2.0
"""The console script `dedangle`."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    try:
        # Most of a short run is this import, and Ctrl-C during it must not show a traceback.
        from dedangle.cli import app

        return app.run(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        return 130
