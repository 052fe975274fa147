# SPDX-License-Identifier: Apache-2.0
"""One node of the lab's Galera cluster; its part is its number. The first one makes the data of all."""

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
    program.attend(child, node.is_synchronised)


if __name__ == "__main__":
    run(main)
