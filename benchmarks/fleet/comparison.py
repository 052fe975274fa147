# SPDX-License-Identifier: Apache-2.0
"""What the comparison costs without any database: CPU and memory, on pages of random ids; one argument, the pairs.

Nova's modules are imported first, as a sweep has them.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator

from benchmarks.fleet.screen import status
from nova import conf, config, context, objects  # noqa: F401  # what a sweep imports, for the memory

from dedangle.core import packing
from dedangle.reconcile.screen import Gathered

_PAGE = 5000


def pages(pairs: int) -> Iterator[packing.Page]:
    """Healthy pairs, two to a server."""
    for _ in range(pairs // _PAGE):
        servers = [os.urandom(16) for _ in range(_PAGE // 2)]
        volumes = [os.urandom(16) for _ in range(_PAGE)]
        triples = [os.urandom(16) + servers[place // 2] + volume for place, volume in enumerate(volumes)]
        rows = packing.Rows(b"".join(each + packing.status_byte("attached") for each in triples))
        yield packing.Servers("cell1", packing.Rows(b"".join(servers)))
        yield packing.Links("cell1", rows)
        yield packing.Attachments(rows)
        yield packing.QuietVolumes(packing.Rows(b"".join(volumes)))


def main() -> None:
    objects.register_all()
    pairs = int(sys.argv[1])
    before, spent = status("VmHWM"), 0.0
    with Gathered() as gathered:
        for page in pages(pairs):
            began = time.process_time()
            gathered.take([page])
            spent += time.process_time() - began
        began = time.process_time()
        screen = gathered.screen()
        compared = time.process_time() - began
    assert (screen.paired, screen.suspects) == (pairs, [])
    print(
        f"{pairs} pairs: {spent:.1f} s of CPU to take the pages in, {compared:.1f} s to compare them; "
        f"peak {status('VmHWM'):.0f} MB, {before:.0f} MB of them before the first row"
    )


if __name__ == "__main__":
    main()
