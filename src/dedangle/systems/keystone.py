# SPDX-License-Identifier: Apache-2.0
"""Find the credentials for Cinder and Nova, and the addresses of their APIs."""

from __future__ import annotations

import dataclasses
import shlex
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

    def __init__(self, sentence: str, next_step: str) -> None:
        super().__init__(f"{sentence} {next_step}")
        self.sentence, self.next_step = sentence, next_step


class KeystoneError(ConnectionError):
    """Keystone did not answer. The message says at which address, where that is from, and what to do."""

    def __init__(self, sentence: str, next_step: str) -> None:
        super().__init__(f"{sentence} {next_step}")
        self.sentence, self.next_step = sentence, next_step


class Access(NamedTuple):
    """A client of Cinder's API with its credentials."""

    client: adapter.Adapter
    project_id: str | None
    """The project of the token."""


class NoCredentialsError(CredentialsError):
    """There are no credentials."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Where credentials are from, and what they say, without a password."""

    place: str
    """For example "[cinder] of nova.conf"."""
    url: str | None
    user: str | None
    project: str | None
    next_step: str
    """How to test and to correct them."""

    def __str__(self) -> str:
        user = f"user {self.user}" if self.user else "the credentials"
        return f"{user} of project {self.project}" if self.project else user


def cinder_client(conf: Any, environ: Mapping[str, str], *, timeout: float | None = None) -> Access:
    """Return a client of Cinder's API with the first credentials found.

    `timeout` is in seconds for each request. Without it, the source of the credentials decides, or it is two minutes.

    The order: keystoneauth options in [dedangle]; OS_CLOUD or OS_AUTH_URL and the rest of OS_*; [cinder],
    [service_user] and [keystone_authtoken] of nova.conf. Raises CredentialsError, or KeystoneError if Keystone does
    not answer.
    """
    session, source = _session(conf, environ)
    session.timeout = timeout or session.timeout or _PATIENCE
    return _access(session, conf, _project_id(session, source))


def _project_id(session: Any, source: Source) -> str:
    """Log in, and return the project of the token."""
    at = f"at {source.url} (auth_url from {source.place})"
    try:
        project_id = session.get_project_id()
    except (
        ks_exceptions.ConnectFailure,
        ks_exceptions.DiscoveryFailure,
        ks_exceptions.HttpServerError,
        ks_exceptions.NotFound,
    ) as error:
        # An auth_url without a version gives a DiscoveryFailure for any error.
        raise KeystoneError(
            f"Keystone did not answer {at}: {type(error).__name__}.",
            "Check that auth_url is right and that Keystone runs there, then run again.",
        ) from error
    except ks_exceptions.ClientException as error:
        raise CredentialsError(f"Keystone {at} refuses {source}: {type(error).__name__}.", source.next_step) from error
    except Exception as error:
        if type(error) is not Exception:
            raise
        # keystoneauth reports a missing option so.
        raise CredentialsError(
            f"The credentials from {source.place} are incomplete: {error}.", source.next_step
        ) from error
    if project_id is None:
        raise CredentialsError(
            f"The credentials from {source.place} ({source}) are not scoped to a project, but Cinder needs one.",
            source.next_step,
        )
    return str(project_id)


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


def _session(conf: Any, environ: Mapping[str, str]) -> tuple[Any, Source]:
    if conf.dedangle.auth_type:
        return _from_section(conf, "dedangle")
    if "OS_CLOUD" in environ or "OS_AUTH_URL" in environ:
        return _from_environment(environ)
    for section in _SECTIONS:
        loading.register_auth_conf_options(conf, section)
        if conf[section].auth_type:
            return _from_section(conf, section)
    raise NoCredentialsError(
        "There are no credentials for Cinder.",
        "Set auth_type and its options in [dedangle], or OS_CLOUD or OS_* in the environment, or [cinder] in "
        "nova.conf.",
    )


def _from_section(conf: Any, section: str) -> tuple[Any, Source]:
    place = f"[{section}] of nova.conf"
    elsewhere = "" if section == "dedangle" else ", or set an administrator in [dedangle] or OS_*"
    next_step = f"Correct auth_type, auth_url, username, password, project_name and the domains in {place}{elsewhere}."
    try:
        loading.register_session_conf_options(conf, section)
        auth = loading.load_auth_from_conf_options(conf, section)
        session = loading.load_session_from_conf_options(conf, section, auth=auth)
    except Exception as error:
        raise _invalid(place, error, next_step) from error
    return session, _source(place, conf[section], next_step)


def _from_environment(environ: Mapping[str, str]) -> tuple[Any, Source]:
    import openstack.config

    cloud, place, path = environ.get("OS_CLOUD") or None, "the environment variables OS_*", ""
    next_step = "Test the credentials with: openstack token issue. Then correct the variables OS_*."
    try:
        known = openstack.config.OpenStackConfig(load_envvars=True)
        if cloud is not None:
            path = known.config_filename or "clouds.yaml"
            place = f"cloud {cloud} of {path}"
            test = f"openstack --os-cloud {shlex.quote(cloud)} token issue"
            next_step = f"Test the credentials with: {test}. Then correct {path}."
        if cloud is not None and cloud not in known.get_cloud_names():
            found = f"{path} has no such cloud" if known.config_filename else "no clouds.yaml was found"
            raise CredentialsError(
                f"OS_CLOUD is {cloud}, but {found}.",
                "List the clouds with: openstack configuration show, or give the file in OS_CLIENT_CONFIG_FILE.",
            )
        region = known.get_one(cloud)
        return region.get_session(), _source(place, region.config.get("auth", {}), next_step)
    except CredentialsError:
        raise
    except Exception as error:
        raise _invalid(place, error, next_step) from error


def _source(place: str, options: Mapping[str, Any], next_step: str) -> Source:
    """Return the source with the options of keystoneauth in it that are no secret."""

    def option(*names: str) -> str | None:
        known = (options[name] for name in names if name in options)
        return next(filter(None, known), None)

    return Source(
        place,
        option("auth_url"),
        option("username", "user_id", "application_credential_name", "application_credential_id"),
        option("project_name", "project_id", "tenant_name"),
        next_step,
    )


def _invalid(place: str, error: Exception, next_step: str) -> CredentialsError:
    # keystoneauth and openstacksdk raise many different errors for invalid settings.
    why = " ".join(str(error).split()).rstrip(".")
    return CredentialsError(f"The credentials from {place} cannot be used: {why}.", next_step)
