# SPDX-License-Identifier: Apache-2.0
"""The hosts port for code that runs in the nova-compute of the host itself."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from dedangle.core.case import Policy
from dedangle.core.decisions import Finding, Outcome, Result
from dedangle.core.records import Disk, Guest, HostConnection, Reading, Refusal
from dedangle.systems import guests
from dedangle.systems.nova.rpc import NovaRpc

_UNASKED = "host {} cannot be asked from here"


class ThisHost:
    """The host of one server's nova-compute, which asks the other hosts of its cell where it has the time."""

    def __init__(self, driver: Any, instance: Any, others: NovaRpc | None) -> None:
        self._driver = driver
        self._instance = instance
        self._others = others

    def disks(self, server_id: str, host: str) -> Reading[Disk]:
        if (server_id, host) == (self._instance.uuid, self._instance.host):
            return guests.disks(self._driver, server_id)
        return self._others.disks(server_id, host) if self._others else Reading.unread(_UNASKED.format(host))

    def release(self, finding: Finding, host: str, deadline: float) -> Refusal | None:
        """Have another host disconnect the attachment; return why it may still be connected."""
        if self._others is None or not self._others.acts(host):
            return Refusal(_UNASKED.format(host))
        return self._others.release(finding, host, deadline)

    def guests(self, host: str, only: Collection[str] | None = None) -> Reading[Guest]:  # noqa: ARG002
        return Reading.unread(f"only an audit asks host {host} for all its guests")

    def unused_connections(self, host: str) -> Reading[HostConnection]:
        return Reading.unread(f"only an audit asks host {host} for its connections")

    def acts(self, host: str) -> bool:  # noqa: ARG002 - the caller is the host that acts
        return False

    def may_answer(self, host: str) -> bool:
        return bool(host == self._instance.host) or (self._others is not None and self._others.may_answer(host))

    def connector(self, server_id: str, host: str) -> Reading[dict[str, Any]]:  # noqa: ARG002
        return Reading.unread(f"only the command asks host {host} for its connector")

    def carry_out(self, finding: Finding, host: str, policy: Policy) -> Outcome:  # noqa: ARG002
        return Outcome(result=Result.FAILED, detail=f"host {host} is the one that acts")
