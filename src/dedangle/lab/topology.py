# SPDX-License-Identifier: Apache-2.0
"""Which processes a lab consists of, in the order of their start, and what runs in each."""

from collections.abc import Sequence
from dataclasses import dataclass


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

    @property
    def services(self) -> list[Service]:
        return [*self.ground, *(service for stage in self.stages for service in stage)]


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
    "mariadb": Topology(
        ground=(Service("mariadb", "ground"), Service("epmd", "ground"), Service("rabbitmq", "ground")),
        stages=(
            (
                Service("keystone", "keystone"),
                Service("placement", "nova", ("placement",)),
                Service("nova-api", "nova", ("nova-api",)),
                Service("cinder-api", "cinder", ("cinder-api",)),
            ),
            (
                Service("nova-conductor", "nova", ("nova-conductor",)),
                Service("nova-scheduler", "nova", ("nova-scheduler",)),
                Service("cinder-volume", "cinder", ("cinder-volume",)),
            ),
            (
                Service("nova-compute", "nova_compute"),
                # It waits up to a minute for the first report of a running cinder-volume.
                Service("cinder-scheduler", "cinder", ("cinder-scheduler",)),
            ),
        ),
    ),
}
