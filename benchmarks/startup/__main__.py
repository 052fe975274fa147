# SPDX-License-Identifier: Apache-2.0
"""How long a word of help takes: dedangle against Nova's own nova-manage --version, in turns."""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

REFERENCE = "nova-manage --version"
COMMANDS = (REFERENCE, "dedangle --version", "dedangle --help")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11, help="of all three, in turns; medians are shown")
    rounds = parser.parse_args().rounds
    # The first round fills the caches of the file system and is not counted.
    taken = [{each: _seconds(each) for each in COMMANDS} for _ in range(rounds + 1)][1:]
    print(f"{'command':22} {'seconds':>7}  of {REFERENCE}")
    for each in COMMANDS:
        ratios = [times[each] / times[REFERENCE] for times in taken]
        print(
            f"{each:22} {statistics.median(times[each] for times in taken):7.3f}  {statistics.median(ratios):.3f} "
            f"({min(ratios):.3f} to {max(ratios):.3f} in {rounds} rounds)"
        )
    return 0


def _seconds(command: str) -> float:
    program, argument = command.split()
    began = time.perf_counter()
    subprocess.run([Path(sys.executable).with_name(program), argument], check=True, capture_output=True)
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
