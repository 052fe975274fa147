# SPDX-License-Identifier: Apache-2.0
"""cinder-volume, cinder-scheduler and Cinder's API, or some of them."""

# Cinder chooses its threading before anything of oslo.service is imported.
from cinder import monkey_patch  # isort: skip

monkey_patch.patch()

# ruff: noqa: E402
import shlex
import threading

import os_brick
from cinder import context, coordination, objects, rpc, service, utils, version
from cinder.common import config, constants
from cinder.db import api as database
from cinder.db import migration
from oslo_config import cfg
from oslo_log import log
from oslo_privsep import priv_context
from oslo_service import wsgi

from dedangle.lab.home import CINDER_APIS
from dedangle.lab.services.program import Program, run

CONF = cfg.CONF


class LabService(service.Service):
    """A Cinder service that may share its process."""

    # Cinder keeps the id of its row in a class attribute: of several services only the last would send heartbeats.
    _lock = threading.Lock()

    def report_state(self) -> None:
        with self._lock:
            service.Service.service_id = self.origin_service_id
            super().report_state()


def build() -> None:
    """Do what cinder-manage db sync does, and lift the quotas."""
    migration.db_sync()
    # Quotas are rows of the default class; quota_volumes in cinder.conf does not change them any more.
    for resource in ("volumes", "gigabytes", "snapshots"):
        database.quota_class_update(context.get_admin_context(), "default", resource, -1)


def configure(conf: str) -> None:
    CONF.register_opt(cfg.StrOpt("cluster"))
    backend_host = cfg.StrOpt("backend_host")
    CONF.register_opt(backend_host)
    objects.register_all()
    CONF(["--config-file", conf], project="cinder", version=version.version_string())
    for backend in CONF.enabled_backends:
        CONF.register_opt(backend_host, group=backend)
    log.setup(CONF, "cinder")
    config.set_middleware_defaults()
    rpc.init(CONF)


def create(part: str) -> list[service.Service]:
    if part == "cinder-volume":
        return [
            LabService.create(
                binary=constants.VOLUME_BINARY, coordination=True, host=f"{CONF.host}@{backend}", service_name=backend
            )
            for backend in CONF.enabled_backends
        ]
    return [LabService.create(binary=constants.SCHEDULER_BINARY)]


def start(part: str) -> list[service.Service]:
    created = create(part)
    for each in created:
        each.start()
        # The first heartbeat comes late, and until then a restarted service counts as down.
        each.report_state()
    return created


def main() -> None:
    program = Program()
    configure(str(program.home.etc / "cinder" / "cinder.conf"))
    if program.build and "cinder-api" in program.parts:
        build()
    priv_context.init(root_helper=shlex.split(utils.get_root_helper()))
    os_brick.setup(CONF)
    coordination.COORDINATOR.start()
    running = [each for part in program.parts if part != "cinder-api" for each in start(part)]
    if "cinder-api" in program.parts:
        port = program.name if program.name in CINDER_APIS else "cinder"
        program.serve(wsgi.Loader(CONF).load_app(name="osapi_volume"), "cinder", port=port)
    program.stay(running)


if __name__ == "__main__":
    run(main)
