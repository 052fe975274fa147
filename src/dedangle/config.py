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
        help="Seconds for which the sweep must have seen a finding, in several runs, before it removes it. 0 switches "
        "this off.",
    ),
    cfg.IntOpt(
        "grace_period_reserved",
        default=600,
        min=0,
        help="Grace period in seconds for rows that were never connected, if it is shorter than grace_period. Such a "
        "reservation blocks every other attach of the volume, for example the next one of Kubernetes.",
    ),
    cfg.IntOpt(
        "max_removals",
        default=25,
        min=0,
        help="Removal limit: a run that would remove more rows than this in total, in one cell or in one project "
        "removes nothing.",
    ),
    cfg.FloatOpt(
        "max_removals_percent",
        default=2.0,
        min=0,
        max=100,
        help="Removal limit in percent of the attachments of the run, cell or project. It applies from 1,000 "
        "attachments on.",
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
        help="URL of the tooz backend for the lock of the sweep, if sweeps run on several machines: file://, "
        "etcd3+http(s)://, redis://, zookeeper:// or kubernetes://. Without a URL, the lock is a file in state_dir.",
    ),
    cfg.IntOpt(
        "concurrency",
        default=4,
        min=1,
        max=16,
        help="Number of servers that the sweep and the audit check at the same time, and that the sweep then cleans at "
        "the same time. For each server there is one request to Cinder at a time. Without cinder_database the bulk "
        "read sends up to four requests to Cinder at the same time.",
    ),
    cfg.StrOpt(
        "textfile_dir",
        default="",
        help="Directory of node_exporter's textfile collector. A sweep, and an audit of the whole cloud, write their "
        "metrics there.",
    ),
    cfg.IntOpt(
        "cell_timeout",
        default=60,
        min=1,
        help="Timeout in seconds for one query to a cell database. A cell that exceeds it counts as not checked.",
    ),
    cfg.StrOpt(
        "cinder_database",
        secret=True,
        help="URL of Cinder's database, in the format of [database] connection in cinder.conf, for a read-only user. "
        "The bulk read of a sweep or an audit then uses the tables volume_attachment and volumes instead of Cinder's "
        "API. The API needs an hour or more for a million volumes.",
    ),
    cfg.StrOpt(
        "ceph_conf",
        default="",
        help="Path of the ceph.conf of the cluster with Cinder's RBD volumes. The command, the sweep and the audit "
        "then ask Ceph, with the rbd command of this machine, which clients have an image open. A volume that a client "
        "has open without another attachment keeps its rows. CEPH_ARGS in the environment can name the Ceph user, "
        "which only needs to read. Without this option, Ceph is not asked.",
    ),
    cfg.IntOpt(
        "stop_timeout",
        default=300,
        min=1,
        help="Timeout in seconds for the stop and for the start of a server with cleanup --restart. Nova powers a "
        "guest off that does not shut down within shutdown_timeout, or os_shutdown_timeout of its image.",
    ),
    cfg.StrOpt(
        "available_with_attachment",
        default="report",
        choices=[
            ("report", "report that the status is wrong"),
            ("remove", "remove the mapping, as the text of Nova's blueprint requires"),
        ],
        help="What to do about a mapping whose volume is `available` although Cinder has its attachment.",
    ),
    cfg.StrOpt(
        "soft_reboot",
        default="graceful",
        choices=[
            ("graceful", "shut the guest down through ACPI, clean the server, and start it with a new domain"),
            ("defer", "log a warning, and leave the removal for a hard reboot"),
        ],
        help="What a soft reboot does if there is something to remove. If there is nothing, it is Nova's own reboot.",
    ),
    cfg.IntOpt(
        "reboot_budget",
        default=20,
        min=1,
        help="Seconds that the search for dangling attachments may add to a reboot. After that nothing is removed.",
    ),
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The values of the [dedangle] group, with those of Nova's own options that dedangle uses."""

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
    ceph_conf: str
    stop_timeout: float
    available_means_gone: bool
    soft_reboot: str
    reboot_budget: float
    attach_timeout: timedelta
    service_down_time: timedelta


def list_options() -> list[tuple[str, list[Any]]]:
    """Return the options of the group for oslo.config's tools, with keystoneauth's options for a password."""
    access = [
        *loading.get_auth_common_conf_options(),
        *loading.get_session_conf_options(),
        *loading.get_auth_plugin_conf_options("password"),
    ]
    return [(GROUP, [*_OPTIONS, *access])]


def register(conf: Any) -> None:
    """Register the group, with keystoneauth's options, on Nova's configuration."""
    conf.register_opts(_OPTIONS, group=GROUP)
    loading.register_session_conf_options(conf, GROUP)
    loading.register_auth_conf_options(conf, GROUP)


def settings(conf: Any) -> Settings:
    """Return the settings; raise oslo_config.cfg.ConfigFileValueError if a value is invalid."""
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
        ceph_conf=own.ceph_conf,
        stop_timeout=own.stop_timeout,
        available_means_gone=own.available_with_attachment == "remove",
        soft_reboot=own.soft_reboot,
        reboot_budget=own.reboot_budget,
        attach_timeout=timedelta(seconds=conf.long_rpc_timeout),
        service_down_time=timedelta(seconds=conf.service_down_time),
    )
