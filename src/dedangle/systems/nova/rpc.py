# SPDX-License-Identifier: Apache-2.0
"""Calls to compute hosts over Nova's message bus, if their nova-compute runs dedangle's endpoint."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any

from dedangle.core.case import Policy
from dedangle.core.decisions import Finding, Outcome, Result
from dedangle.core.records import Disk, Guest, HostConnection, Reading, Refusal

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
        """Create the client. `transport` returns the transport of a host; the default is that of its cell."""
        self._timeout = timeout
        self._transport = transport or self._of_cell
        self._asked: dict[str, Reading[Any]] = {}
        self._silent: set[str] = set()
        self._transports: dict[str, Any] = {}
        self._cells: dict[str, Any] = {}
        """The transports of cells by their URLs, which are secrets."""
        self._lock = threading.Lock()

    def disks(self, server_id: str, host: str) -> Reading[Disk]:
        about = self.about(host)
        if not about.complete:
            return Reading.unread(about.why)
        try:
            answer = self._call(host, "disks", server_id=server_id)
            found = _disks(answer["disks"])
        except Exception as error:  # noqa: BLE001 -- whatever the bus raises, the host did not answer
            return Reading.unread(f"host {host} did not answer ({type(error).__name__})")
        return Reading(found, not answer["why"], answer["why"])

    def guests(self, host: str, only: Collection[str] | None = None) -> Reading[Guest]:
        found: list[Guest] = []
        after = ""
        wanted = None if only is None else sorted(only)
        try:
            while True:
                page = self._call(host, "guests", after=after, only=wanted)
                self._note(host, Reading((page,)))
                found += [Guest(**{**each, "disks": _disks(each["disks"])}) for each in page["guests"]]
                if page["why"] or not page["more"]:
                    return Reading(tuple(found), not page["why"], page["why"])
                after = found[-1].server_id
        except Exception as error:  # noqa: BLE001 -- whatever the bus raises, the host did not answer
            if _name(error) == "NoSuchMethod":
                return Reading.unread(f"host {host} runs a release of dedangle that does not report all its guests")
            if host in self._asked and self._asked[host].complete:
                return Reading.unread(f"host {host} did not report all its guests ({_name(error)})")
            return self._note(host, self._unanswered(host, error))

    def unused_connections(self, host: str) -> Reading[HostConnection]:
        try:
            answer = self._call(host, "unused_connections")
            found = tuple(
                HostConnection(**{**each, "devices": tuple(each["devices"])}) for each in answer["connections"]
            )
        except Exception as error:  # noqa: BLE001 -- whatever the bus raises, the host did not answer
            return Reading.unread(f"host {host} did not report its connections ({_name(error)})")
        return Reading(found, not answer["why"], answer["why"])

    def acts(self, host: str) -> bool:
        return self.about(host).complete

    def may_answer(self, host: str) -> bool:
        about = self._ask_once(host)
        # A release before this field leaves it open.
        return host in self._silent or any(each.get("reports_guests", True) for each in about.rows)

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
            except Exception as error:  # noqa: BLE001  # whatever the bus raises, the host did not answer
                answer = self._unanswered(host, error)
            self._note(host, answer)
        return self._asked[host]

    def _note(self, host: str, answer: Reading[Any]) -> Reading[Any]:
        self._asked[host] = answer
        return answer

    def _unanswered(self, host: str, error: Exception) -> Reading[Any]:
        # A nova-compute without the endpoint answers UnsupportedVersion; one that is down does not answer.
        if isinstance(error, _UnreachableError):
            return Reading.unread(f"host {host} cannot be reached: {error}")
        if _name(error) == "MessagingTimeout":
            self._silent.add(host)
            return Reading.unread(f"host {host} did not answer in {self._timeout:g} s")
        return Reading.unread(f"host {host} does not run dedangle ({_name(error)})")

    def _call(self, host: str, method: str, timeout: float | None = None, **arguments: Any) -> Any:
        import oslo_messaging as messaging
        from nova import context, rpc
        from nova.compute import rpcapi
        from nova.objects import base

        if host not in self._transports:
            self._transports[host] = self._transport(host)
        transport = self._transports[host]
        target = messaging.Target(topic=rpcapi.RPC_TOPIC, namespace=NAMESPACE, version=VERSION)
        serializer = rpc.RequestContextSerializer(base.NovaObjectSerializer())
        client = messaging.get_rpc_client(transport, target, serializer=serializer)
        prepared = client.prepare(server=host, timeout=timeout or self._timeout, retry=1)
        return prepared.call(context.get_admin_context(), method, **arguments)

    def _of_cell(self, host: str) -> Any:
        """Return the transport of the host's cell, whose hosts share the connections, whichever thread asks first."""
        url = _url(host)
        with self._lock:
            if url not in self._cells:
                self._cells[url] = _transport(url)
            return self._cells[url]


def _disks(rows: Iterable[dict[str, Any]]) -> tuple[Disk, ...]:
    # A host with another release of dedangle may answer with other fields, which is no answer.
    return tuple(Disk(**each) for each in rows)


def _name(error: Exception) -> str:
    """Return the name of an exception, also of one that the host raised."""
    return str(getattr(error, "exc_type", None) or type(error).__name__)


def _allowed(policy: Policy) -> dict[str, bool]:
    fields = (field.name for field in dataclasses.fields(policy))
    return {name: getattr(policy, name) for name in fields if name not in _NOT_SENT}


class _UnreachableError(Exception):
    """The host cannot be reached. The message says why."""


def _url(host: str) -> str:
    """Return the URL of the transport of the host's cell; a secret."""
    from nova import context, objects

    return str(objects.HostMapping.get_by_host(context.get_admin_context(), host).cell_mapping.transport_url)


def _transport(cell_url: str) -> Any:
    import oslo_messaging as messaging
    from nova import conf, rpc

    url = messaging.TransportURL.parse(conf.CONF, cell_url)
    if url.transport in ("fake", "none"):
        raise _UnreachableError(f"the transport of its cell is {url.transport}, which only works within one process")
    rpc.set_defaults(control_exchange="nova")
    return messaging.get_rpc_transport(conf.CONF, url=url)
