# SPDX-License-Identifier: Apache-2.0
"""The [dedangle] group of nova.conf."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path
from typing import Any

from keystoneauth1 import loading
from oslo_config import cfg

GROUP = "dedangle"

_OPTIONS = [
    cfg.IntOpt(
        "grace_period",
        default=3600,
        min=0,
        help="Seconds for which the sweep must have seen a finding, over runs, to remove it; 0 switches it off.",
    ),
    cfg.IntOpt(
        "grace_period_reserved",
        default=600,
        min=0,
        help="The grace period, in seconds, of rows that nothing was ever connected through, if it is shorter. Such a "
        "reservation keeps everybody else from the volume, Kubernetes' next attach for one.",
    ),
    cfg.IntOpt(
        "max_removals",
        default=25,
        min=0,
        help="The fuse: a run that would remove more than this in all, in one cell or in one project removes nothing.",
    ),
    cfg.FloatOpt(
        "max_removals_percent",
        default=2.0,
        min=0,
        max=100,
        help="The fuse in percent of the attachments of the run, cell or project, where there are 1,000 or more.",
    ),
    cfg.StrOpt(
        "state_dir",
        default="$state_path/dedangle",
        help="Directory of the journal, the sightings and the lock.",
    ),
    cfg.StrOpt(
        "coordination_url",
        default="",
        secret=True,
        help="Where tooz keeps the sweep's lock, for sweeps on several machines: file://, etcd3+http(s)://, redis://, "
        "zookeeper:// or kubernetes://; without, a file in state_dir is the lock.",
    ),
    cfg.IntOpt(
        "concurrency",
        default=4,
        min=1,
        max=16,
        help="How many servers the sweep and the audit look at at once, and how many the sweep then cleans at once; "
        "each asks Cinder one thing at a time.",
    ),
    cfg.StrOpt(
        "textfile_dir",
        default="",
        help="Directory of node_exporter's textfile collector, where a sweep, and an audit of the whole cloud, "
        "leave their metrics.",
    ),
    cfg.IntOpt(
        "cell_timeout",
        default=60,
        min=1,
        help="Seconds that a cell's database has for one answer before the cell counts as not read.",
    ),
    cfg.StrOpt(
        "cinder_database",
        secret=True,
        help="URL of Cinder's database, as in cinder.conf's [database] connection for a user who may only read. The "
        "bulk read of a sweep or an audit then reads volume_attachment and volumes there, in place of Cinder's API, "
        "which needs an hour or more for a million volumes.",
    ),
    cfg.IntOpt(
        "stop_timeout",
        default=300,
        min=1,
        help="Seconds that a server may take to stop, and to start again, under cleanup --restart. A guest has "
        "shutdown_timeout, or its image's os_shutdown_timeout, to shut down before Nova switches it off.",
    ),
    cfg.StrOpt(
        "available_with_attachment",
        default="report",
        choices=[
            ("report", "say that the status is wrong"),
            ("remove", "remove the mapping, as the letter of Nova's blueprint has it"),
        ],
        help="What to do about a mapping whose volume is `available` although its attachment is there.",
    ),
    cfg.StrOpt(
        "soft_reboot",
        default="graceful",
        choices=[
            ("graceful", "shut the guest down through ACPI, clean, and start it with a new domain"),
            ("defer", "leave everything for a hard reboot, with one warning"),
        ],
        help="What a soft reboot does when there is something to remove; without, it is Nova's own.",
    ),
    cfg.IntOpt(
        "reboot_budget",
        default=20,
        min=1,
        help="Seconds that looking for dangling attachments may add to a reboot; then nothing is removed.",
    ),
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The group as plain values; spans are timedeltas."""

    grace: timedelta
    grace_reserved: timedelta
    max_removals: int
    max_removals_percent: float
    state_dir: Path
    coordination_url: str
    concurrency: int
    textfile_dir: Path | None
    cell_timeout: float
    cinder_database: str | None
    stop_timeout: float
    available_means_gone: bool
    soft_reboot: str
    reboot_budget: float
    attach_timeout: timedelta
    service_down_time: timedelta


def list_options() -> list[tuple[str, list[Any]]]:
    """What may stand in the group, for oslo.config's tools: with keystoneauth's options of a password."""
    access = [
        *loading.get_auth_common_conf_options(),
        *loading.get_session_conf_options(),
        *loading.get_auth_plugin_conf_options("password"),
    ]
    return [(GROUP, [*_OPTIONS, *access])]


def register(conf: Any) -> None:
    """Register the group, keystoneauth's options in it included, on Nova's own configuration."""
    conf.register_opts(_OPTIONS, group=GROUP)
    loading.register_session_conf_options(conf, GROUP)
    loading.register_auth_conf_options(conf, GROUP)


def settings(conf: Any) -> Settings:
    """Read the group; raises oslo_config.cfg.ConfigFileValueError where a value is not of its kind."""
    own = conf[GROUP]
    return Settings(
        grace=timedelta(seconds=own.grace_period),
        grace_reserved=timedelta(seconds=own.grace_period_reserved),
        max_removals=own.max_removals,
        max_removals_percent=own.max_removals_percent,
        state_dir=Path(own.state_dir),
        coordination_url=own.coordination_url,
        concurrency=own.concurrency,
        textfile_dir=Path(own.textfile_dir) if own.textfile_dir else None,
        cell_timeout=own.cell_timeout,
        cinder_database=own.cinder_database,
        stop_timeout=own.stop_timeout,
        available_means_gone=own.available_with_attachment == "remove",
        soft_reboot=own.soft_reboot,
        reboot_budget=own.reboot_budget,
        attach_timeout=timedelta(seconds=conf.long_rpc_timeout),
        service_down_time=timedelta(seconds=conf.service_down_time),
    )
