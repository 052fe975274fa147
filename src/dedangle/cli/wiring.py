# SPDX-License-Identifier: Apache-2.0
"""Build the systems that a verb works with, from nova.conf and the environment."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from dedangle.cli.configuration import bulk_of_cinder, configure, find_access, require_api_database
from dedangle.cli.errors import UnreachableError
from dedangle.core.decisions import Door

if TYPE_CHECKING:
    from dedangle.cli.progress import Progress
    from dedangle.config import Settings
    from dedangle.reconcile.hosts import Witnesses
    from dedangle.reconcile.images import Images
    from dedangle.reconcile.inspection import Inspection
    from dedangle.reconcile.restart import Restarter
    from dedangle.reconcile.server import Reconciler
    from dedangle.state.journal import Journal
    from dedangle.state.sightings import Sightings
    from dedangle.systems.cinder.api import CinderApi
    from dedangle.systems.keystone import Access
    from dedangle.systems.nova.actions import InstanceActions
    from dedangle.systems.nova.cells import Cell
    from dedangle.systems.nova.database import NovaDatabase
    from dedangle.systems.ports import Bulk

from dedangle.cli.signals import Signals


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wiring:
    """The systems, settings and files of one run."""

    settings: Settings
    nova: NovaDatabase
    actions: InstanceActions
    cinder: CinderApi
    bulk: Bulk
    """The source of the bulk read of attachments and volumes: Cinder's database, or its API."""
    session: Any
    """The keystoneauth session with the credentials for Cinder."""
    sightings: Sightings
    signals: Signals
    clock: Callable[[], datetime]
    run_id: str

    def reconciler(
        self,
        door: Door,
        connector: dict[str, Any] | None = None,
        *,
        no_host: bool = False,
        names_volume: bool = False,
        allow_root: bool = False,
        relink: bool = False,
        reattach: bool = False,
        restart: bool = False,
        assume_deleted: bool = False,
    ) -> Reconciler:
        from dedangle.core.case import Policy
        from dedangle.reconcile.repairs import Repairs
        from dedangle.reconcile.server import Reconciler
        from dedangle.systems.nova.rpc import NovaRpc

        policy = Policy(
            door=door,
            grace=self.settings.grace,
            grace_reserved=self.settings.grace_reserved,
            attach_timeout=self.settings.attach_timeout,
            no_host=no_host,
            names_volume=names_volume,
            allow_root=allow_root,
            relink=relink,
            reattach=reattach,
            connector_host=(connector or {}).get("host"),
            restart=restart,
            assume_deleted=assume_deleted,
            available_means_gone=self.settings.available_means_gone,
        )
        hosts = NovaRpc(self.settings.cell_timeout)
        return Reconciler(
            nova=self.nova,
            cinder=self.cinder,
            hosts=hosts,
            images=self._images(),
            repairs=Repairs(nova=self.nova, cinder=self.cinder, hosts=hosts, connector=connector or {}),
            policy=policy,
            clock=self.clock,
            first_seen=self.sightings.first_seen,
            is_journalled=lambda server_id: server_id in self._journalled,
            thorough=True,
            shield=self.signals.shield,
        )

    def _images(self) -> Images | None:
        from dedangle.reconcile.images import Images
        from dedangle.systems.ceph import Ceph

        conf = self.settings.ceph_conf
        return Images(self.nova, self.cinder, Ceph(conf, self.settings.cell_timeout)) if conf else None

    @functools.cached_property
    def _journalled(self) -> frozenset[str]:
        """The servers of which the journal of this machine has a change; none if it cannot be read."""
        from dedangle.state import journal

        try:
            return journal.read(self.settings.state_dir / journal.NAME).known_servers
        except OSError:
            return frozenset()

    def inspection(self, reconciler: Reconciler, progress: Progress, *, concurrency: int = 1) -> Inspection:
        from dedangle.cli import console
        from dedangle.reconcile.inspection import Inspection
        from dedangle.reconcile.stuck import StuckVolumes

        return Inspection(
            nova=self.nova,
            reconciler=reconciler,
            sightings=self.sightings,
            clock=self.clock,
            progress=progress,
            complain=console.complain,
            stuck_volumes=StuckVolumes(
                nova=self.nova,
                cinder=self.cinder,
                policy=reconciler.policy,
                clock=self.clock,
                shield=self.signals.shield,
            ),
            concurrency=concurrency,
        )

    def witnesses(self, reconciler: Reconciler, progress: Progress) -> Witnesses:
        from dedangle.reconcile.hosts import Witnesses

        return Witnesses(nova=self.nova, cinder=self.cinder, hosts=reconciler.hosts, progress=progress)

    def restarter(self, progress: Callable[[str], None], trouble: Callable[[str], None]) -> Restarter:
        """Return what stops and starts servers; it calls `trouble` for a server that did not start again.

        Raises UsageError if there are no credentials for Nova.
        """
        from nova import conf as nova_conf

        from dedangle.reconcile.restart import Restarter
        from dedangle.state.stopped import StoppedServers
        from dedangle.systems import keystone
        from dedangle.systems.nova.api import NovaApi

        return Restarter(
            nova=self.nova,
            power=NovaApi(keystone.nova_client(nova_conf.CONF, self.session)),
            stopped=StoppedServers(self.settings.state_dir),
            patience=self.settings.stop_timeout,
            monotonic=time.monotonic,
            pause=time.sleep,
            shield=self.signals.shield,
            progress=progress,
            trouble=trouble,
        )

    @functools.cached_property
    def project_names(self) -> dict[str, str]:
        """Read once and only for people: without them a run goes on."""
        from dedangle.systems import keystone

        return keystone.project_names(self.session)

    def journal(self, door: Door) -> Journal:
        from dedangle.state.journal import Journal

        return Journal(
            self.settings.state_dir,
            run_id=self.run_id,
            door=door,
            clock=self.clock,
            project_names=self.project_names,
        )


def clock() -> datetime:
    return datetime.now(timezone.utc)


def wire(config_args: Sequence[str], signals: Signals) -> Wiring:
    """Read the configuration, log in to Keystone, and read the cells from Nova's API database.

    Raises UsageError if the configuration is invalid, and UnreachableError if Keystone or the database does not answer.
    """
    settings = configure(config_args)
    require_api_database()
    from dedangle.systems.nova import cells as nova_cells

    cells = nova_cells.every_cell(settings.cell_timeout)
    if not cells.complete:
        raise UnreachableError(f"{cells.why}. Nothing was checked. Run again when it answers.")
    return assemble(settings, cells.rows, find_access(), signals)


def assemble(settings: Settings, cells: Sequence[Cell], access: Access, signals: Signals) -> Wiring:
    """Return the systems of a run for the given cells and credentials."""
    from dedangle.state.sightings import Sightings
    from dedangle.systems.cinder.api import CinderApi
    from dedangle.systems.nova import cells as nova_cells
    from dedangle.systems.nova.actions import InstanceActions
    from dedangle.systems.nova.database import NovaDatabase

    cinder = CinderApi(*access)
    run_id = uuid4().hex[:12]
    actions = InstanceActions(cells, run_id=run_id, clock=clock)
    return Wiring(
        settings=settings,
        actions=actions,
        nova=NovaDatabase(
            nova_cells.api_cell(settings.cell_timeout),
            cells,
            actions=actions,
            service_down_time=settings.service_down_time,
            clock=clock,
        ),
        cinder=cinder,
        bulk=bulk_of_cinder(settings) or cinder,
        session=access.client.session,
        sightings=Sightings(settings.state_dir),
        signals=signals,
        clock=clock,
        run_id=run_id,
    )
