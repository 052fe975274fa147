# SPDX-License-Identifier: Apache-2.0
"""`serve.py URL FILE`: the hosts of a JSON file answer on the bus, each with an RPC server of its own, until killed."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import oslo_messaging as messaging
from benchmarks.hosts.domains import Domain, Driver
from nova import conf, objects, rpc
from nova.objects import base

from dedangle.compute.endpoint import Endpoint
from dedangle.systems import libvirt


def main() -> None:
    url, hosts = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    objects.register_all()
    conf.CONF([], project="nova", default_config_files=[])
    libvirt._bdms = lambda _: {}
    rpc.set_defaults(control_exchange="nova")
    transport = messaging.get_rpc_transport(conf.CONF, url=url)
    serializer = rpc.RequestContextSerializer(base.NovaObjectSerializer())
    for host, servers in hosts.items():
        domains = [Domain(number, server, volumes) for number, (server, volumes) in enumerate(servers.items())]
        endpoint = Endpoint(SimpleNamespace(driver=Driver(domains), host=host))
        target = messaging.Target(topic="compute", server=host)
        server = messaging.get_rpc_server(transport, target, [endpoint], executor="threading", serializer=serializer)
        # The 64 threads of a real nova-compute, for each of 50 hosts of this process, use a core even when idle.
        server.start(override_pool_size=2)
    print("ready", flush=True)
    time.sleep(3600)


if __name__ == "__main__":
    main()
