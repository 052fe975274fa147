# SPDX-License-Identifier: Apache-2.0
"""Placement, nova-conductor, nova-scheduler, nova-compute and Nova's API, or some of them."""

# Nova chooses its threading when it is first imported.
from nova import monkey_patch  # isort: skip

monkey_patch.patch(backend="threading")

# ruff: noqa: E402
import shlex
from collections.abc import Sequence

import nova.conf
import os_brick
import os_vif
from nova import context, objects, service, utils
from nova.api.openstack import wsgi_app
from nova.compute import rpcapi as compute_rpc
from nova.conductor import rpcapi as conductor_rpc
from nova.db import migration
from nova.scheduler import rpcapi as scheduler_rpc
from nova.scheduler.client import report
from oslo_privsep import priv_context
from placement import wsgi as placement

from dedangle.lab.home import CELLS, Home
from dedangle.lab.services.program import Program, run

CELL1 = "c3111111-1111-4111-8111-111111111111"
FLAVORS = ("small", "large")


def build(home: Home, hosts: Sequence[str]) -> None:
    """Do what nova-manage api_db sync, map_cell0, create_cell, db sync and discover_hosts do, and make two flavors."""
    admin = context.get_admin_context()
    migration.db_sync(database="api")
    for name, cell, transport in (
        ("cell0", objects.CellMapping.CELL0_UUID, "none:///"),
        ("cell1", CELL1, home.transport_url),
    ):
        mapping = {"uuid": cell, "name": name, "transport_url": transport, "disabled": False}
        row = objects.CellMapping(admin, database_connection=home.database_url(CELLS[name]), **mapping)
        row.create()
        if name == "cell1":
            for host in hosts:
                objects.HostMapping(admin, host=host, cell_mapping=row).create()
        with context.target_cell(admin, row) as in_cell:
            migration.db_sync(database="main", context=in_cell)
    for number, name in enumerate(FLAVORS, start=1):
        size = {"memory_mb": 64 * number, "vcpus": number, "root_gb": 0, "ephemeral_gb": 0, "swap": 0}
        objects.Flavor(admin, flavorid=str(number), name=name, rxtx_factor=1.0, is_public=True, **size).create()


TOPICS = {
    "nova-conductor": {"topic": conductor_rpc.RPC_TOPIC},
    "nova-scheduler": {"topic": scheduler_rpc.RPC_TOPIC},
    "nova-compute": {"topic": compute_rpc.RPC_TOPIC, "topic_alt": compute_rpc.RPC_TOPIC_ALT},
}


def start(part: str, host: str | None = None) -> service.Service:
    started = service.Service.create(binary=part, host=host, **TOPICS[part])
    started.start()
    # The first heartbeat comes after five seconds; until then the scheduler takes a restarted host for dead.
    started.service_ref.report_count += 1
    started.service_ref.save()
    return started


def main() -> None:
    program = Program()
    if "placement" in program.parts:
        # Concurrent PUT /allocations deadlock under BEGIN IMMEDIATE.
        threads = 1 if program.home.is_sqlite else 5
        program.serve(placement.init_application(), "placement", threads)
    if program.parts == ["placement"]:
        program.stay()
    # After Placement, which sets the logging of the whole process up for itself.
    wsgi_app.init_global_data(wsgi_app._get_config_files(), "osapi_compute", "nova-api-os-compute")
    if program.build and "nova-api" in program.parts:
        build(program.home, program.hosts)
    if "nova-compute" in program.parts:
        priv_context.init(root_helper=shlex.split(utils.get_root_helper()))
        os_brick.setup(nova.conf.CONF)
        os_vif.initialize()
        # At each claim, under one lock, Nova asks Placement for the allocations of each server of the host. It uses the
        # answers only where PCI devices or a reshape move allocations.
        report.SchedulerReportClient.get_allocations_for_provider_tree = lambda *_: {}
        service.SERVICE_MANAGERS["nova-compute"] = program.manager
        # nova-compute asks Placement, and that Keystone, before it is up.
        program.wait_for("keystone")
    running = [
        start(part, host)
        for part in program.parts
        if part in TOPICS
        for host in (program.hosts if part == "nova-compute" else (None,))
    ]
    if "nova-api" in program.parts:
        program.serve(wsgi_app.init_application("osapi_compute", "nova-api-os-compute"), "nova")
    program.stay(running)


if __name__ == "__main__":
    run(main)
