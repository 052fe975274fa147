# SPDX-License-Identifier: Apache-2.0
"""Calls to compute hosts over Nova's message bus, if their nova-compute runs dedangle's endpoint."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

from dedangle.core.case import Policy
from dedangle.core.decisions import Finding, Outcome, Result
from dedangle.core.ghosts import Guest
from dedangle.core.records import Disk, Reading, Refusal

NAMESPACE, VERSION = "dedangle", "1.0"
# Fields that a host takes from its own configuration, or that only the command uses. A host gets all other fields.
_NOT_SENT = frozenset(
    {
        *("door", "grace", "grace_reserved", "attach_timeout", "guest_off", "at_host"),
        *("relink", "reattach", "connector_host", "restart", "assume_deleted"),
    }
)


class NovaRpc:
    """Calls over the transport of the host's cell; `timeout` is in seconds, for each call."""

    def __init__(self, timeout: float, transport: Callable[[str], Any] | None = None) -> None:
        """Transport returns the way to a host; by default that of its cell, which Nova's API database tells."""
        self._timeout = timeout
        self._transport = transport or _transport
        self._asked: dict[str, Reading[Any]] = {}
        self._silent: set[str] = set()
        self._transports: dict[str, Any] = {}

    def disks(self, server_id: str, host: str) -> Reading[Disk]:
        about = self.about(host)
        if not about.complete:
            return Reading.unread(about.why)
        try:
            answer = self._call(host, "disks", server_id=server_id)
            found = tuple(Disk(**each) for each in answer["disks"])
        except Exception as error:  # noqa: BLE001 -- whatever the bus raises, the host did not answer
            # A host with another release of dedangle may answer with other fields.
            return Reading.unread(f"host {host} did not answer ({type(error).__name__})")
        return Reading(found, not answer["why"], answer["why"])

    def guests(self, host: str) -> Reading[Guest]:
        about = self.about(host)
        if not about.complete:
            return Reading.unread(about.why)
        found: list[Guest] = []
        after = ""
        try:
            while True:
                page = self._call(host, "guests", after=after)
                for each in page["guests"]:
                    disks = tuple(Disk(**disk) for disk in each["disks"])
                    found.append(Guest(server_id=each["server_id"], disks=disks))
                if page["why"] or not page["guests"]:
                    return Reading(tuple(found), not page["why"], page["why"])
                after = page["guests"][-1]["server_id"]
        except Exception as error:  # noqa: BLE001 -- whatever the bus raises, the host did not answer
            return Reading.unread(f"host {host} did not report its guests ({type(error).__name__})")

    def acts(self, host: str) -> bool:
        return self.about(host).complete

    def may_answer(self, host: str) -> bool:
        return self.acts(host) or host in self._silent

    def about(self, host: str) -> Reading[str]:
        """Return the release of dedangle on the host; unread if it does not run dedangle or does not answer."""
        answer = self._ask_once(host)
        return Reading(tuple(str(each["release"]) for each in answer.rows), answer.complete, answer.why)

    def connector(self, server_id: str, host: str) -> Reading[dict[str, Any]]:
        about = self.about(host)
        if not about.complete:
            return Reading.unread(about.why)
        try:
            return Reading((dict(self._call(host, "connector", server_id=server_id)),))
        except Exception as error:  # noqa: BLE001 -- whatever the bus raises, the host did not answer
            return Reading.unread(f"host {host} did not give its connector ({type(error).__name__})")

    def carry_out(self, finding: Finding, host: str, policy: Policy) -> Outcome:
        try:
            answer = self._call(
                host,
                "carry_out",
                server_id=finding.server_id,
                identity=finding.identity._asdict(),
                door=policy.door.value,
                allowed=_allowed(policy),
                # The host may get the instance lock only after this call has timed out.
                deadline=time.time() + self._timeout,
            )
        except Exception as error:  # noqa: BLE001  # whatever the bus raises, the outcome is unknown
            detail = f"host {host} did not return the outcome ({type(error).__name__}). Run again to see it"
            return Outcome(result=Result.UNKNOWN, detail=detail)
        return Outcome(result=Result(answer["result"]), detail=answer["detail"])

    def release(self, finding: Finding, host: str, deadline: float) -> Refusal | None:
        """Have a host that the server is not on disconnect the attachment; return why it may still be connected."""
        try:
            answer = self._call(
                host,
                "release",
                timeout=max(deadline - time.time(), 1),
                server_id=finding.server_id,
                volume_id=finding.volume_id,
                attachment_id=finding.attachment_id,
                deadline=deadline,
            )
        except Exception as error:  # noqa: BLE001  # whatever the bus raises, the outcome is unknown
            return Refusal(f"host {host} did not tell whether it disconnected the volume ({type(error).__name__})")
        return Refusal(answer["why"]) if answer["why"] else None

    def _ask_once(self, host: str) -> Reading[Any]:
        """Return what the host reports about itself; the host is asked only once in a run."""
        if host not in self._asked:
            try:
                answer = Reading((self._call(host, "about"),))
            except _UnreachableError as error:
                answer = Reading.unread(f"host {host} cannot be reached: {error}")
            except Exception as error:  # noqa: BLE001  # whatever the bus raises, the host did not answer
                # A nova-compute without the endpoint answers UnsupportedVersion; one that is down does not answer.
                if type(error).__name__ == "MessagingTimeout":
                    self._silent.add(host)
                    answer = Reading.unread(f"host {host} did not answer in {self._timeout:g} s")
                else:
                    answer = Reading.unread(f"host {host} does not run dedangle ({type(error).__name__})")
            self._asked[host] = answer
        return self._asked[host]

    def _call(self, host: str, method: str, timeout: float | None = None, **arguments: Any) -> Any:
        import oslo_messaging as messaging
        from nova import context, rpc
        from nova.compute import rpcapi
        from nova.objects import base

        transport = self._transports.get(host)
        if transport is None:
            transport = self._transports[host] = self._transport(host)
        target = messaging.Target(topic=rpcapi.RPC_TOPIC, namespace=NAMESPACE, version=VERSION)
        serializer = rpc.RequestContextSerializer(base.NovaObjectSerializer())
        client = messaging.get_rpc_client(transport, target, serializer=serializer)
        prepared = client.prepare(server=host, timeout=timeout or self._timeout, retry=1)
        return prepared.call(context.get_admin_context(), method, **arguments)


def _allowed(policy: Policy) -> dict[str, bool]:
    fields = (field.name for field in dataclasses.fields(policy))
    return {name: getattr(policy, name) for name in fields if name not in _NOT_SENT}


class _UnreachableError(Exception):
    """The host cannot be reached. The message says why."""


def _cell_of(host: str) -> Any:
    from nova import context, objects

    return objects.HostMapping.get_by_host(context.get_admin_context(), host).cell_mapping


def _transport(host: str) -> Any:
    import oslo_messaging as messaging
    from nova import conf, rpc

    url = messaging.TransportURL.parse(conf.CONF, _cell_of(host).transport_url)
    if url.transport in ("fake", "none"):
        raise _UnreachableError(f"the transport of its cell is {url.transport}, which only works within one process")
    rpc.set_defaults(control_exchange="nova")
    return messaging.get_rpc_transport(conf.CONF, url=url)
