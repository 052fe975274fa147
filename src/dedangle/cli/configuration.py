# SPDX-License-Identifier: Apache-2.0
"""Read nova.conf, and find in it and in the environment what a run needs to log in."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dedangle.cli.errors import UnreachableError, UsageError

if TYPE_CHECKING:
    from dedangle.config import Settings
    from dedangle.systems.cinder.database import CinderDatabase
    from dedangle.systems.keystone import Access


def configure(config_args: Sequence[str]) -> Settings:
    """Read Nova's configuration and return the settings of its [dedangle] group; raise UsageError if it is invalid."""
    try:
        from nova import conf as nova_conf
        from nova import config as nova_config
        from oslo_config import cfg
        from oslo_log import log
    except ImportError as error:
        raise UsageError(
            f"Nova is not installed in this Python environment ({error}). Install dedangle into the environment of "
            "nova-manage."
        ) from error
    from dedangle import config

    conf = nova_conf.CONF
    try:
        config.register(conf)
        nova_config.parse_args([sys.argv[0], *config_args])
        settings = config.settings(conf)
    except cfg.ConfigFilesNotFoundError as error:
        raise UsageError(f"{error}. Give the path of nova.conf with --config-file.") from error
    except (cfg.Error, ValueError) as error:
        raise UsageError(f"The configuration cannot be read: {' '.join(str(error).split())}") from error
    # A database that is down must be reported within cell_timeout. Nova's default is ten retries, ten seconds apart.
    for group in ("database", "api_database"):
        conf.set_override("max_retries", 0, group)
    log.setup(conf, "nova")
    return settings


def require_api_database() -> None:
    """Raise UsageError if nova.conf has no API database."""
    from nova import conf as nova_conf

    conf = nova_conf.CONF
    if not conf.api_database.connection:
        if not conf.config_file:
            raise UsageError("No configuration file was found. Give the path of nova.conf with --config-file.")
        found = ", ".join(conf.config_file)
        raise UsageError(
            f"[api_database] connection is not set in {found}. Give the path of nova.conf with --config-file."
        )


def bulk_of_cinder(settings: Settings) -> CinderDatabase | None:
    """Return Cinder's database for the bulk read, or None to use its API; raise UsageError if the URL is invalid."""
    if not settings.cinder_database:
        return None
    from sqlalchemy.exc import SQLAlchemyError

    from dedangle.systems.cinder.database import CinderDatabase

    try:
        return CinderDatabase(settings.cinder_database, settings.cell_timeout)
    except (SQLAlchemyError, ImportError, ValueError) as error:
        # The text of the error may contain the URL with its password.
        raise UsageError(
            f"[dedangle] cinder_database cannot be used ({type(error).__name__}). Use the same format as [database] "
            "connection in cinder.conf."
        ) from error


def find_access() -> Access:
    """Find credentials and log in; raise UsageError or UnreachableError."""
    from nova import conf as nova_conf

    from dedangle.systems import keystone

    try:
        return keystone.cinder_client(nova_conf.CONF, os.environ)
    except keystone.CredentialsError as error:
        raise UsageError(error.sentence, error.next_step) from error
    except keystone.KeystoneError as error:
        raise UnreachableError(error.sentence, error.next_step) from error
