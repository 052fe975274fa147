# SPDX-License-Identifier: Apache-2.0
"""One node of the lab's Galera cluster; its part is its number. The first one makes the data of all."""

import signal
import subprocess
import time

from dedangle.lab import galera
from dedangle.lab.home import DATABASES
from dedangle.lab.services.program import Program, run


def main() -> None:
    program = Program()
    number, path = int(program.parts[0]), program.home.state / "galera"
    ports = program.home.node_ports
    nodes = [galera.Node(path, each, ports) for each in range(1, len(ports) + 1)]
    seeded = path / "seeded"
    if number == 1 and not seeded.exists():
        path.mkdir(exist_ok=True)
        galera.seed(nodes, DATABASES)
        seeded.touch()
    while not seeded.exists():
        time.sleep(0.05)
    node = nodes[number - 1]
    child = subprocess.Popen(node.command(*node.start_options()), env=node.environment())
    # The lab signals the whole process group, so the child has heard it too.
    signal.signal(signal.SIGTERM, lambda *_: None)
    while child.poll() is None and not node.is_synchronised():
        time.sleep(0.05)
    if child.poll() is None:
        program.ready()
    print(f"mariadbd ended with {child.wait()}", flush=True)


if __name__ == "__main__":
    run(main)
