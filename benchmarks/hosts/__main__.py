# SPDX-License-Identifier: Apache-2.0
"""What it costs a host to report all its guests, and a run to ask a fleet of hosts."""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

from benchmarks.hosts.domains import Driver, bdms, some_domains


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--guests", type=int, default=500, help="of one host")
    parser.add_argument("--disks", type=int, default=8, help="of each guest")
    parser.add_argument("--rounds", type=int, default=5, help="medians are shown")
    parser.add_argument("--fleet", type=int, default=0, help="ask this many hosts over RabbitMQ instead")
    parser.add_argument("--processes", type=int, default=4, help="that the hosts of the fleet share")
    arguments = parser.parse_args()
    # So that a kill ends what the fleet runs, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if arguments.fleet:
        from benchmarks.hosts.fleet import measure

        lines = measure(arguments.fleet, arguments.processes, arguments.rounds)
    else:
        lines = one_host(arguments.guests, arguments.disks, arguments.rounds)
    for line in lines:
        print(line, flush=True)
    return 0


def one_host(count: int, disks: int, rounds: int) -> Iterator[str]:
    from nova import objects
    from nova.objects import base

    objects.register_all()
    from dedangle.compute.endpoint import Endpoint
    from dedangle.systems import libvirt

    domains = some_domains(count, disks)
    by_server = {domain.uuid: bdms([domain]).objects for domain in domains}
    taken: dict[str, list[float]] = {"XML alone": [], "all guests": [], "mappings from the conductor": []}
    libvirt._bdms = lambda servers: {server: by_server[server] for server in servers}
    endpoint = Endpoint(SimpleNamespace(driver=Driver(domains), host="compute-1"))
    primitive = base.NovaObjectSerializer().serialize_entity(None, bdms(domains))
    sizes = (0, 0)
    for _ in range(rounds + 1):
        began = time.process_time()
        for domain in domains:
            for text in (domain.get_xml_desc(), domain.get_xml_desc(dump_inactive=True)):
                list(ElementTree.fromstring(text).iterfind("./devices/disk"))
        taken["XML alone"].append(time.process_time() - began)
        began = time.process_time()
        messages = list(_messages(endpoint))
        taken["all guests"].append(time.process_time() - began)
        sizes = (len(messages), sum(map(len, messages)))
        began = time.process_time()
        base.NovaObjectSerializer().deserialize_entity(None, primitive)
        taken["mappings from the conductor"].append(time.process_time() - began)
    yield f"{count} guests with {disks} disks each, {len(domains[0].text) / 1000:.0f} kB of XML a domain"
    for what, seconds in taken.items():
        # The first round is not counted.
        yield f"  {what}: {statistics.median(seconds[1:]):.2f} s of CPU"
    yield f"  {sizes[0]} messages, {sizes[1] / 1e6:.2f} MB"


def _messages(endpoint: Any) -> Iterator[str]:
    """Yield each answer as it goes over the bus: JSON in JSON (oslo_messaging/_drivers/common.py:serialize_msg)."""
    after, more = "", True
    while more:
        page = endpoint.guests(None, after=after)
        yield json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps({"result": page, "failure": None})})
        more = page["more"]
        after = page["guests"][-1]["server_id"] if more else ""


if __name__ == "__main__":
    sys.exit(main())
