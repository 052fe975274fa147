# SPDX-License-Identifier: Apache-2.0
"""The console script `dedangle-nova-compute`: Nova's own nova-compute with our ComputeManager."""

from __future__ import annotations

import sys
from pathlib import PurePath

MANAGER = "dedangle.compute.manager.ComputeManager"


def main() -> None:
    """Start nova-compute; configuration files and log file are those of a nova-compute."""
    # oslo.config looks for /etc/nova/<name>.conf and oslo.log writes <name>.log: Debian's packages keep compute_driver
    # in nova-compute.conf.
    sys.argv[0] = str(PurePath(sys.argv[0]).with_name("nova-compute"))
    # First of all: nova.cmd.compute chooses threads or eventlet before anything else of OpenStack is imported, and
    # since 34 it refuses to start otherwise. Hence the manager's name and not the manager.
    from nova.cmd import compute

    from nova import service  # isort: skip

    service.SERVICE_MANAGERS["nova-compute"] = MANAGER
    compute.main()
