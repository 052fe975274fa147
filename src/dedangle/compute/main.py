# SPDX-License-Identifier: Apache-2.0
"""The console script `dedangle-nova-compute`: Nova's own nova-compute with dedangle's ComputeManager."""

from __future__ import annotations

import sys
from pathlib import PurePath

MANAGER = "dedangle.compute.manager.ComputeManager"


def main() -> None:
    """Start nova-compute, with the configuration files and the log file of nova-compute."""
    # oslo.config reads /etc/nova/<name>.conf, and oslo.log writes <name>.log. Debian's packages have compute_driver in
    # nova-compute.conf.
    sys.argv[0] = str(PurePath(sys.argv[0]).with_name("nova-compute"))
    # This import must be the first one of OpenStack: nova.cmd.compute chooses threads or eventlet, and since 34 it
    # refuses to start otherwise. So MANAGER is a dotted name and not the class.
    from nova.cmd import compute

    from nova import service  # isort: skip

    service.SERVICE_MANAGERS["nova-compute"] = MANAGER
    compute.main()
