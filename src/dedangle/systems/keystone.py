# SPDX-License-Identifier: Apache-2.0
"""Find the credentials for Cinder and Nova, and the addresses of their APIs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from keystoneauth1 import adapter, loading, plugin
from keystoneauth1 import exceptions as ks_exceptions

from dedangle.systems import rest
from dedangle.systems.cinder.api import MICROVERSION
from dedangle.systems.nova import api

# Sections of nova.conf that are tried after [dedangle] and the environment, in this order.
_SECTIONS = ("cinder", "service_user", "keystone_authtoken")
# Without a timeout keystoneauth can wait forever, and a signal is delayed during a write. cinder-api itself waits a
# minute for cinder-volume.
_PATIENCE = 120.0
# Of a list that only people miss.
_NAMES_PATIENCE = 10.0


class CredentialsError(Exception):
    """There are no credentials, or Keystone refuses them. The message says where they are from and what to do."""


class Access(NamedTuple):
    """A client of Cinder's API with its credentials."""

    client: adapter.Adapter
    project_id: str | None
    """The project of the token."""


class NoCredentialsError(CredentialsError):
    """There are no credentials."""


def cinder_client(conf: Any, environ: Mapping[str, str], *, timeout: float | None = None) -> Access:
    """Return a client of Cinder's API with the first credentials found.

    `timeout` is in seconds for each request. Without it, the source of the credentials decides, or it is two minutes.

    The order: keystoneauth options in [dedangle]; OS_CLOUD or OS_AUTH_URL and the rest of OS_*; [cinder],
    [service_user] and [keystone_authtoken] of nova.conf. Raises CredentialsError, or ConnectionError if Keystone does
    not answer.
    """
    session, source = _session(conf, environ)
    session.timeout = timeout or session.timeout or _PATIENCE
    try:
        project_id = session.get_project_id()
    except (ks_exceptions.ConnectFailure, ks_exceptions.DiscoveryFailure) as error:
        # An auth_url without a version gives a DiscoveryFailure for any error.
        raise ConnectionError(f"Keystone did not answer at the address from {source}") from error
    except ks_exceptions.ClientException as error:
        raise CredentialsError(
            f"Keystone refuses the credentials of {source} ({type(error).__name__}). "
            "dedangle needs a project-scoped administrator; set one in [dedangle] or OS_*."
        ) from error
    if project_id is None:
        raise CredentialsError(
            f"The credentials of {source} are not scoped to a project, but Cinder needs one. Set a project-scoped "
            "administrator in [dedangle] or OS_*."
        )
    return _access(session, conf, project_id)


def _access(session: Any, conf: Any, project_id: str | None) -> Access:
    service_type, _, interface = [*conf.cinder.catalog_info.split(":"), "", ""][:3]
    template = conf.cinder.endpoint_template
    client = adapter.Adapter(
        session,
        service_type=service_type,
        interface=interface or None,
        region_name=conf.cinder.os_region_name,
        endpoint_override=template % {"project_id": project_id} if template else None,
        default_microversion=MICROVERSION,
        connect_retries=1,
        status_code_retries=2,
        retriable_status_codes=[429, 503],
        user_agent="dedangle",
    )
    return Access(client, project_id)


def nova_client(conf: Any, session: Any) -> adapter.Adapter:
    """Return a client of Nova's API, with the same region and interface as Cinder's."""
    interface = [*conf.cinder.catalog_info.split(":"), "", ""][2]
    return adapter.Adapter(
        session,
        service_type="compute",
        interface=interface or None,
        region_name=conf.cinder.os_region_name,
        default_microversion=api.MICROVERSION,
        user_agent="dedangle",
    )


def project_names(session: Any) -> dict[str, str]:
    """Return the name of each project by its id; none if Keystone does not list projects to these credentials."""
    client = adapter.Adapter(
        session,
        service_type="identity",
        interface=plugin.AUTH_INTERFACE,
        version=(3, 0),
        user_agent="dedangle",
    )
    try:
        listed = rest.body(client.get("/projects", raise_exc=False, timeout=_NAMES_PATIENCE)).get("projects", [])
        return {project["id"]: project["name"] for project in listed}
    except (ks_exceptions.ClientException, KeyError, TypeError):
        return {}


def _session(conf: Any, environ: Mapping[str, str]) -> tuple[Any, str]:
    try:
        if conf.dedangle.auth_type:
            return _from_section(conf, "dedangle"), "[dedangle]"
        if "OS_CLOUD" in environ or "OS_AUTH_URL" in environ:
            return _from_environment(), "OS_CLOUD" if "OS_CLOUD" in environ else "OS_AUTH_URL"
        for section in _SECTIONS:
            loading.register_auth_conf_options(conf, section)
            if conf[section].auth_type:
                return _from_section(conf, section), f"nova.conf's [{section}]"
    except Exception as error:
        # keystoneauth and openstacksdk raise many different errors for invalid settings.
        raise CredentialsError(f"The credentials' settings are invalid: {' '.join(str(error).split())}") from error
    raise NoCredentialsError(
        "There are no credentials for Cinder. Set auth_type and its options in [dedangle], or OS_CLOUD or OS_* in the "
        "environment, or [cinder] in nova.conf."
    )


def _from_section(conf: Any, section: str) -> Any:
    loading.register_session_conf_options(conf, section)
    auth = loading.load_auth_from_conf_options(conf, section)
    return loading.load_session_from_conf_options(conf, section, auth=auth)


def _from_environment() -> Any:
    import openstack.config

    return openstack.config.get_cloud_region(load_envvars=True).get_session()
