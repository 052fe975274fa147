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


# Each stage starts when the one before it is ready.
Stage = Sequence[Service]

SQLITE: Sequence[Stage] = (
    (
        Service("keystone", "keystone"),
        # Nova, Cinder and Keystone each want oslo.config's global configuration; Placement has one of its own.
        Service("nova", "nova", ("placement", "nova-api", "nova-conductor", "nova-scheduler", "nova-compute")),
        Service("cinder", "cinder", ("cinder-volume", "cinder-scheduler", "cinder-api")),
    ),
)
STAGES = {"sqlite": SQLITE}
