# SPDX-License-Identifier: Apache-2.0
"""The processes of a lab, in the order of their start, and the services in each."""

from collections.abc import Sequence
from dataclasses import dataclass

from dedangle.lab import packages
from dedangle.lab.config import COMPUTE_HOSTS
from dedangle.lab.home import CINDER_APIS, GALERA_NODES
from dedangle.lab.packages import Packages


@dataclass(frozen=True)
class Service:
    """One process: the module of `services` that it runs, and which parts of that."""

    name: str
    module: str
    parts: Sequence[str] = ()


@dataclass(frozen=True)
class Topology:
    """What the services stand on, and their stages: each starts when the one before is ready."""

    ground: Sequence[Service]
    stages: Sequence[Sequence[Service]]
    packages: Packages | None = None
    """What must be installed of Debian."""
    hosts: int = 1
    """Compute hosts with a nova-compute of their own, the first named nova-compute and the others by their host."""

    @property
    def services(self) -> list[Service]:
        return [*self.ground, *(service for stage in self.stages for service in stage)]


_RABBITMQ = (Service("epmd", "ground"), Service("rabbitmq", "ground"))


def _on_a_bus(
    ground: Sequence[Service], packages: Packages, cinder_apis: Sequence[str], hosts: Sequence[str] = COMPUTE_HOSTS[:1]
) -> Topology:
    """A process for each service, as a real cloud has them; with several APIs of Cinder a proxy is in front of them."""
    others = [Service(host, "nova_compute", (host,)) for host in hosts[1:]]
    first, *more = [Service(name, "cinder", ("cinder-api",)) for name in cinder_apis]
    return Topology(
        ground=(*ground, *_RABBITMQ),
        stages=(
            (
                Service("keystone", "keystone"),
                Service("placement", "nova", ("placement",)),
                Service("nova-api", "nova", ("nova-api",)),
                first,
            ),
            (
                Service("nova-conductor", "nova", ("nova-conductor",)),
                Service("nova-scheduler", "nova", ("nova-scheduler",)),
                Service("cinder-volume", "cinder", ("cinder-volume",)),
                *more,
            ),
            (
                Service("nova-compute", "nova_compute"),
                *others,
                # It waits up to a minute for the first report of a running cinder-volume.
                Service("cinder-scheduler", "cinder", ("cinder-scheduler",)),
            ),
        ),
        packages=packages,
        hosts=len(hosts),
    )


_NODES = [Service(f"galera-{number}", "galera", (str(number),)) for number in range(1, GALERA_NODES + 1)]
_GALERA = _on_a_bus((*_NODES, Service("haproxy", "haproxy")), packages.GALERA, CINDER_APIS, COMPUTE_HOSTS)

TOPOLOGIES = {
    "sqlite": Topology(
        ground=(),
        stages=(
            (
                Service("keystone", "keystone"),
                # Nova, Cinder and Keystone each want oslo.config's global configuration; Placement has its own.
                Service("nova", "nova", ("placement", "nova-api", "nova-conductor", "nova-scheduler", "nova-compute")),
                Service("cinder", "cinder", ("cinder-volume", "cinder-scheduler", "cinder-api")),
            ),
        ),
    ),
    "mariadb": _on_a_bus((Service("mariadb", "ground"),), packages.MARIADB, ("cinder-api",)),
    # HAProxy sends everything to one node, the others being its backups; or to each node in turn.
    "galera": _GALERA,
    "galera-all": _GALERA,
}
