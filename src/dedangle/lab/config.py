# SPDX-License-Identifier: Apache-2.0
"""The configuration files of the lab's services and of the clients that use them."""

import base64
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from dedangle.lab.home import ADDRESS, REGION, Home

Sections = Mapping[str, Mapping[str, object]]

COMPUTE_HOSTS = ("lab-compute-1", "lab-compute-2")
COMPUTE_HOST = COMPUTE_HOSTS[0]
ADMIN_PASSWORD = "labadmin"
USER_PASSWORD = "labuser"
SERVICE_PASSWORD = "labsvc"
SERVICE_TYPES = {
    "identity": "keystone",
    "compute": "nova",
    "block-storage": "cinder",
    "placement": "placement",
    "network": "neutron",
}
PROJECTS = ("p1", "p2")
SERVICE_USERS = ("nova", "cinder", "placement")


def write(home: Home, nova_overrides: Sections, cinder_overrides: Sections) -> None:
    """Write every file; what the services installed beside themselves (paste pipelines, filters) is copied."""
    installed = Path(sys.prefix) / "etc"
    files = {
        "keystone/keystone.conf": _keystone(home),
        "placement/placement.conf": _placement(home),
        "nova/nova.conf": _merged(_nova(home), nova_overrides),
        "cinder/cinder.conf": _merged(_cinder(home), cinder_overrides),
    }
    for name, sections in files.items():
        path = home.etc / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_render(sections))
    # Without resource_filters.json Cinder answers 400 "Invalid filters instance_id" to every list by instance.
    for name in ("nova/api-paste.ini", "cinder/api-paste.ini", "cinder/resource_filters.json"):
        shutil.copyfile(installed / name, home.etc / name)
    # JSON is YAML, and openstacksdk reads it as such.
    home.clouds_yaml.write_text(json.dumps({"clouds": _clouds(home)}, indent=1) + "\n")


def write_host(home: Home, host: str, own: Sections | None = None) -> None:
    """Write the configuration of nova-compute on one more host: the options that two machines do not share."""
    state = home.state / host
    (state / "dedangle").mkdir(parents=True, exist_ok=True)
    sections: Sections = {
        "DEFAULT": {"host": host, "log_file": home.logs / f"{host}.log", "state_path": state},
        "oslo_concurrency": {"lock_path": state / "lock"},
        "dedangle": {"state_dir": state / "dedangle"},
    }
    host_conf(home, host).write_text(_render({**sections, **(own or {})}))


def host_conf(home: Home, host: str) -> Path:
    return home.etc / "nova" / f"{host}.conf"


def environment(home: Home) -> dict[str, str]:
    """Return the environment of the services' processes."""
    # A user's own OS_* variables are for other clouds, and without bytecode every start takes twice as long.
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("OS_") and name != "PYTHONDONTWRITEBYTECODE"
    }
    return inherited | {
        "PYTHONWARNINGS": "ignore",
        "OS_KEYSTONE_CONFIG_DIR": str(home.etc / "keystone"),
        "OS_NOVA_CONFIG_DIR": str(home.etc / "nova"),
        "OS_PLACEMENT_CONFIG_DIR": str(home.etc / "placement"),
        "OS_CINDER_DISABLE_EVENTLET_PATCHING": "1",
    }


def fernet_key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def _render(sections: Sections) -> str:
    return "\n".join(
        f"[{group}]\n" + "".join(f"{option} = {value}\n" for option, value in options.items())
        for group, options in sections.items()
    )


def _merged(sections: Sections, overrides: Sections) -> Sections:
    return {group: {**sections.get(group, {}), **overrides.get(group, {})} for group in {**sections, **overrides}}


def _login(home: Home, user: str) -> dict[str, object]:
    return {
        "auth_type": "password",
        "auth_url": home.url("keystone"),
        "username": user,
        "password": SERVICE_PASSWORD,
        "user_domain_name": "Default",
        "project_domain_name": "Default",
        "project_name": "service",
    }


def _service_login(home: Home, user: str) -> dict[str, object]:
    return {**_login(home, user), "region_name": REGION}


def _authtoken(home: Home, user: str) -> dict[str, object]:
    return {
        "www_authenticate_uri": home.url("keystone"),
        "service_token_roles": "service",
        "service_token_roles_required": "true",
        **_service_login(home, user),
    }


def _database(home: Home, name: str) -> dict[str, object]:
    options: dict[str, object] = {"connection": home.database_url(name)}
    if home.is_sqlite:
        options["sqlite_synchronous"] = "false"
    return options


def _keystone(home: Home) -> Sections:
    keys = home.state / "keystone"
    return {
        "DEFAULT": {"log_file": home.logs / "keystone.log"},
        "database": _database(home, "keystone"),
        "fernet_tokens": {"key_repository": keys / "fernet-keys"},
        "fernet_receipts": {"key_repository": keys / "fernet-keys"},
        "credential": {"key_repository": keys / "credential-keys"},
        "token": {"provider": "fernet", "expiration": 86400},
        # Without a cache every token is read from six tables, by each service that gets it.
        "cache": {"backend": "dogpile.cache.memory"},
        # The default cost of bcrypt makes every login 0.4 s.
        "identity": {"password_hash_rounds": 4},
    }


def _placement(home: Home) -> Sections:
    return {
        "DEFAULT": {"log_file": home.logs / "placement.log"},
        "api": {"auth_strategy": "keystone"},
        "placement_database": {**_database(home, "placement"), "sync_on_startup": "true"},
        "keystone_authtoken": _authtoken(home, "placement"),
    }


def _nova(home: Home) -> Sections:
    login = _service_login(home, "nova")
    return {
        "DEFAULT": {
            "log_file": home.logs / "nova.log",
            "state_path": home.state / "nova",
            "host": COMPUTE_HOST,
            "my_ip": ADDRESS,
            "transport_url": home.transport_url,
            # It keeps its node uuid in state_path, which FakeDriver does not: that one cannot start twice.
            "compute_driver": "fake.FakeDriverWithoutFakeNodes",
            "report_interval": 3,
            "service_down_time": 60,
            # The fake driver forgets its guests at a restart; Nova must not stop them for that.
            "sync_power_state_interval": -1,
            "heal_instance_info_cache_interval": -1,
            "shelved_offload_time": 0,
            "allow_resize_to_same_host": "true",
        },
        "api": {"auth_strategy": "keystone"},
        "api_database": _database(home, "nova_api"),
        "database": _database(home, "nova_cell1"),
        "conductor": {"workers": 1},
        "scheduler": {"workers": 1},
        "oslo_concurrency": {"lock_path": home.state / "nova" / "lock"},
        "filter_scheduler": {"enabled_filters": "ComputeFilter"},
        "keystone_authtoken": _authtoken(home, "nova"),
        # Without a service token Cinder refuses to let nova-compute detach (CVE-2023-2088).
        "service_user": {"send_service_user_token": "true", **login},
        "placement": login,
        "cinder": {
            "catalog_info": "block-storage::public",
            "os_region_name": REGION,
            **_login(home, "nova"),
        },
        "neutron": {"endpoint_override": home.url("neutron"), **login},
        "glance": {"endpoint_override": home.url("glance"), **login},
        "quota": {"instances": -1, "cores": -1, "ram": -1},
        "dedangle": {"grace_period": 0, "state_dir": home.state / "dedangle"},
    }


def _cinder(home: Home) -> Sections:
    login = _service_login(home, "cinder")
    return {
        "DEFAULT": {
            "log_file": home.logs / "cinder.log",
            "state_path": home.state / "cinder",
            "host": "lab",
            "my_ip": ADDRESS,
            "auth_strategy": "keystone",
            "transport_url": home.transport_url,
            "api_paste_config": home.etc / "cinder" / "api-paste.ini",
            "resource_query_filters_file": home.etc / "cinder" / "resource_filters.json",
            "enabled_backends": "fake",
            "rootwrap_config": "",
        },
        "fake": {
            "volume_driver": "cinder.tests.fake_driver.FakeLoggingVolumeDriver",
            "volume_backend_name": "fake",
        },
        "database": _database(home, "cinder"),
        "coordination": {"backend_url": f"file://{home.state / 'cinder' / 'coordination'}"},
        "oslo_concurrency": {"lock_path": home.state / "cinder" / "lock"},
        "keystone_authtoken": _authtoken(home, "cinder"),
        "service_user": {"send_service_user_token": "true", **login},
        # Cinder asks Nova here before it lets a user delete an attachment (CVE-2023-2088).
        "nova": {"interface": "public", **login},
    }


def _clouds(home: Home) -> dict[str, object]:
    logins = {"admin": ("admin", ADMIN_PASSWORD, "admin")}
    logins.update({project: (f"user-{project}", USER_PASSWORD, project) for project in PROJECTS})
    return {
        f"dedangle-{name}": {
            "auth": {
                "auth_url": home.url("keystone"),
                "username": user,
                "password": password,
                "project_name": project,
                "user_domain_name": "Default",
                "project_domain_name": "Default",
            },
            "region_name": REGION,
            "interface": "public",
        }
        for name, (user, password, project) in logins.items()
    }
