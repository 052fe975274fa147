# SPDX-License-Identifier: Apache-2.0
"""Keystone's API and the stubs of Neutron and Glance."""

import uuid

from keystone.cmd.bootstrap import Bootstrapper
from keystone.common import provider_api
from keystone.common.sql import upgrades
from keystone.server import backends, wsgi

from dedangle.lab import config
from dedangle.lab.home import REGION, Home
from dedangle.lab.services import glance, neutron
from dedangle.lab.services.program import Program, run

PROVIDERS = provider_api.ProviderAPIs


def build(home: Home) -> None:
    """Do what keystone-manage db_sync and bootstrap do, and fill the catalogue."""
    upgrades.offline_sync_database_to_version()
    # The application has loaded and locked the backends already, and Bootstrapper would load them again.
    backends.load_backends = dict
    bootstrap = Bootstrapper()
    bootstrap.admin_username = bootstrap.project_name = bootstrap.admin_role_name = "admin"
    bootstrap.admin_password = config.ADMIN_PASSWORD
    bootstrap.service_name = "keystone"
    bootstrap.region_id = REGION
    bootstrap.immutable_roles = True
    # keystonemiddleware asks the catalogue for the internal endpoint.
    bootstrap.public_url = bootstrap.internal_url = home.url("keystone")
    bootstrap.bootstrap()

    service = _project("service")
    for name in config.SERVICE_USERS:
        _user(name, config.SERVICE_PASSWORD, service, [bootstrap.service_role_id, bootstrap.admin_role_id])
    for name in config.PROJECTS:
        _user(f"user-{name}", config.USER_PASSWORD, _project(name), [bootstrap.member_role_id])
    for kind, name in config.SERVICE_TYPES.items():
        if kind != "identity":
            _endpoint(kind, name, home)


def _project(name: str) -> str:
    project = uuid.uuid4().hex
    row = {"id": project, "name": name, "domain_id": "default", "enabled": True, "description": ""}
    PROVIDERS.resource_api.create_project(project, row)
    return project


def _user(name: str, password: str, project: str, roles: list[str]) -> None:
    row = {"name": name, "password": password, "domain_id": "default", "enabled": True}
    user = PROVIDERS.identity_api.create_user(row)["id"]
    for role in roles:
        PROVIDERS.assignment_api.add_role_to_user_and_project(user, project, role)


def _endpoint(kind: str, name: str, home: Home) -> None:
    service, endpoint = uuid.uuid4().hex, uuid.uuid4().hex
    PROVIDERS.catalog_api.create_service(service, {"id": service, "type": kind, "name": name, "enabled": True})
    row = {"id": endpoint, "service_id": service, "region_id": REGION, "interface": "public", "enabled": True}
    PROVIDERS.catalog_api.create_endpoint(endpoint, {**row, "url": home.url(name)})


def main() -> None:
    program = Program()
    application = wsgi.initialize_public_application()
    if program.build:
        build(program.home)
    program.serve(application, "keystone", threads=5)
    program.serve(neutron.application, "neutron", threads=5)
    program.serve(glance.application, "glance", threads=5)
    program.stay()


if __name__ == "__main__":
    run(main)
