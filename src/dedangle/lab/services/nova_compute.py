# SPDX-License-Identifier: Apache-2.0
"""nova-compute as it runs in a real cloud: without a database, through nova-conductor; its part is another host."""

# Nova chooses its threading when its command is first imported.
import nova.cmd.compute  # isort: skip

import os
import sys

from nova import service

from dedangle.lab import config
from dedangle.lab.services.program import Program, run


def main() -> None:
    program = Program()
    start = service.Service.start

    def start_and_report(this: service.Service) -> None:
        start(this)
        # The first heartbeat comes after five seconds; until then the scheduler takes a restarted host for dead.
        this.service_ref.report_count += 1
        this.service_ref.save()
        program.ready()

    service.Service.start = start_and_report
    # The lab's other services end at once, too. Nova's own shutdown waits seconds for its threads and its message bus.
    service.Service.stop = lambda _: os._exit(0)
    service.SERVICE_MANAGERS["nova-compute"] = program.manager
    files = [program.home.nova_conf, *(config.host_conf(program.home, host) for host in program.parts)]
    sys.argv = ["nova-compute", *(word for path in files for word in ("--config-file", str(path)))]
    nova.cmd.compute.main()


if __name__ == "__main__":
    run(main)
