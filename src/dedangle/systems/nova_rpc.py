# SPDX-License-Identifier: Apache-2.0
"""Compute hosts, asked over Nova's own message bus where their nova-compute runs our endpoint."""

from __future__ import annotations

from typing import Any

from dedangle.core.doors import Policy
from dedangle.core.records import Disk, Finding, Outcome, Reading, Result

NAMESPACE, VERSION = "dedangle", "1.0"
_REMOTE_POLICY = ("no_host", "allow_root", "available_means_gone")


class NovaRpc:
    """Asks over the transport of the host's cell; timeout is in seconds for each answer."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._asked: dict[str, Reading[str]] = {}
        self._clients: dict[str, Any] = {}

    def disks(self, server_id: str, host: str) -> Reading[Disk]:
        about = self.about(host)
        if not about.complete:
            return Reading.unread(about.why)
        try:
            answer = self._call(host, "disks", server_id=server_id)
        except Exception as error:
            return Reading.unread(f"host {host} did not answer ({type(error).__name__})")
        return Reading(tuple(Disk(volume_id=each) for each in answer["disks"]), not answer["why"], answer["why"])

    def acts(self, host: str) -> bool:
        return self.about(host).complete

    def about(self, host: str) -> Reading[str]:
        """Which release of dedangle the host runs, asked once in a run; unread where it runs none or is silent."""
        if host not in self._asked:
            try:
                self._asked[host] = Reading((str(self._call(host, "about")["release"]),))
            except _UnreachableError as error:
                self._asked[host] = Reading.unread(f"host {host} cannot be asked: {error}")
            except Exception as error:
                # A nova-compute without our endpoint answers UnsupportedVersion, one that is down not at all.
                why = f"host {host} does not run dedangle, or does not answer ({type(error).__name__})"
                self._asked[host] = Reading.unread(why)
        return self._asked[host]

    def carry_out(self, finding: Finding, host: str, policy: Policy) -> Outcome:
        try:
            answer = self._call(
                host,
                "carry_out",
                server_id=finding.server_id,
                identity=list(finding.identity),
                door=policy.door.value,
                allowed={name: getattr(policy, name) for name in _REMOTE_POLICY},
            )
        except Exception as error:
            detail = f"host {host} did not tell what came of it ({type(error).__name__}); look again"
            return Outcome(result=Result.FAILED, detail=detail)
        return Outcome(result=Result(answer["result"]), detail=answer["detail"])

    def _call(self, host: str, method: str, **arguments: Any) -> Any:
        from nova import context

        client = self._clients.get(host)
        if client is None:
            client = self._clients[host] = _client(host)
        prepared = client.prepare(server=host, timeout=self._timeout, retry=1)
        return prepared.call(context.get_admin_context(), method, **arguments)


class _UnreachableError(Exception):
    """There is no way to the host; the message says why."""


def _client(host: str) -> Any:
    import oslo_messaging as messaging
    from nova import conf, context, objects, rpc
    from nova.compute import rpcapi

    mapping = objects.HostMapping.get_by_host(context.get_admin_context(), host).cell_mapping
    url = messaging.TransportURL.parse(conf.CONF, mapping.transport_url)
    if url.transport in ("fake", "none"):
        raise _UnreachableError(f"the transport of its cell is {url.transport}, which ends with the process")
    rpc.set_defaults(control_exchange="nova")
    transport = messaging.get_rpc_transport(conf.CONF, url=url)
    target = messaging.Target(topic=rpcapi.RPC_TOPIC, namespace=NAMESPACE, version=VERSION)
    return messaging.get_rpc_client(transport, target, serializer=rpc.RequestContextSerializer(None))
