# SPDX-License-Identifier: Apache-2.0
"""The RPC endpoint of a host for the command and the sweep, in addition to nova-compute's own endpoints."""

from __future__ import annotations

import dataclasses
from importlib import metadata
from typing import Any

import oslo_messaging as messaging
from nova import objects, utils

from dedangle.core.decisions import Door, Identity
from dedangle.systems import guests
from dedangle.systems.nova.rpc import NAMESPACE, VERSION

# A disk takes some hundred bytes, so a page of guests with 26 disks each is smaller than a megabyte.
_PAGE = 100


class Endpoint:
    """dedangle's namespace on nova-compute's topic. A nova-compute without it answers UnsupportedVersion."""

    target = messaging.Target(namespace=NAMESPACE, version=VERSION)

    def __init__(self, manager: Any) -> None:
        self._manager = manager

    def about(self, context: Any) -> dict[str, Any]:  # noqa: ARG002
        """Return the release of dedangle on the host, its name, and whether its virt driver reports guests."""
        reports_guests = guests.of(self._manager.driver).reports_guests
        return {"release": metadata.version("dedangle"), "host": self._manager.host, "reports_guests": reports_guests}

    def disks(self, context: Any, server_id: str) -> dict[str, Any]:  # noqa: ARG002
        """Return the fields of each disk of the server's guest here; `why` says if not all disks could be read.

        The guest is looked up only by its id, because it may still run after Nova has deleted or purged the server.
        """
        reading = guests.disks(self._manager.driver, server_id)
        return {"disks": [dataclasses.asdict(each) for each in reading.rows], "why": reading.why}

    def guests(self, context: Any, after: str, only: list[str] | None = None) -> dict[str, Any]:
        """Return the next page of domains on this host, in the order of their servers' ids; more: others follow.

        With `only`, return only the domains of these servers.
        """
        driver = self._manager.driver
        reading = guests.of(driver).guests(driver, after, _PAGE, only)
        # As dataclasses.asdict, which takes a second for the disks of 500 guests.
        found = [{**vars(each), "disks": [vars(disk) for disk in each.disks]} for each in reading.rows]
        return {"guests": found, "more": len(found) == _PAGE, "why": reading.why, **self.about(context)}

    def unused_connections(self, context: Any) -> dict[str, Any]:  # noqa: ARG002
        """Return the connections to storage that this host holds and that no domain uses."""
        driver = self._manager.driver
        reading = guests.of(driver).unused_connections(driver)
        return {"connections": [dataclasses.asdict(each) for each in reading.rows], "why": reading.why}

    def connector(self, context: Any, server_id: str) -> dict[str, Any]:
        """Return the connector of this host, which Cinder needs to connect a volume here; it is a secret."""
        instance = objects.Instance.get_by_uuid(context, server_id)
        return dict(self._manager.driver.get_volume_connector(instance))

    def release(
        self, context: Any, server_id: str, volume_id: str, attachment_id: str, deadline: float
    ) -> dict[str, str]:
        """Disconnect an attachment here for the server's own host; why: it may still be connected."""
        locked = utils.synchronized(server_id)(self._manager.release)
        refusal = locked(context, server_id, volume_id, attachment_id, deadline)
        return {"why": refusal.why if refusal else ""}

    def carry_out(
        self,
        context: Any,
        server_id: str,
        identity: dict[str, Any],
        door: str,
        allowed: dict[str, bool],
        deadline: float,
    ) -> dict[str, str]:
        """Judge the server again with the instance lock held, and remove the row of the identity if it still may go."""
        locked = utils.synchronized(server_id)(self._manager.remove_one)
        outcome = locked(context, server_id, Identity(**identity), Door(door), allowed, deadline)
        return {"result": outcome.result.value, "detail": outcome.detail}
